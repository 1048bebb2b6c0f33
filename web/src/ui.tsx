// Parts that several pages are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { pictureOf, previewOf, fileOf, post, type Job, type Picture } from "./api";
import { go } from "./state";

export function Link({ to, children, ...more }: { to: string; children: ComponentChildren; [name: string]: unknown }) {
  return <a href={to} {...more} onClick={(event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(to);
  }}>{children}</a>;
}

export const Trouble = ({ words }: { words: string }) => <p class="trouble" role="alert"><Text words={words} /></p>;

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><h2>{title}</h2>{children}</div>;
}

export function Labelled({ label, hint, children }: { label: string; hint?: string; children: (id: string, hint?: string) => ComponentChildren }) {
  const id = useId();
  return <div class="field"><label for={id}>{label}</label>{children(id, hint ? `${id}-hint` : undefined)}
    {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}</div>;
}

export function Segments<T extends string>({ label, value, options, onChange }:
  { label: string; value: T; options: [T, string][]; onChange: (value: T) => void }) {
  const name = useId();
  return <fieldset class="segments"><legend class="away">{label}</legend>{options.map(([key, words]) =>
    <label key={key}><input type="radio" name={name} checked={key === value} onChange={() => onChange(key)} /><span>{words}</span></label>)}
  </fieldset>;
}

export const percent = (value: number) => `${Math.round(value * 100)}%`;

// Sentences of the server's; commands stand between backticks.
export const Text = ({ words }: { words: string }) => <>{words.split("`").map((part, n) => n % 2 ? <code key={n}>{part}</code> : part)}</>;
const RANK: Record<string, string> = { usable: "good", "usable with care": "care", unusable: "bad" };
export const judgement = (picture: Picture) => RANK[picture.verdict?.status ?? ""] ?? "none";

export function Verdict({ picture }: { picture: Picture }) {
  const verdict = picture.verdict;
  if (!verdict) return <p class="verdict none">not judged yet</p>;
  return <div class={`verdict ${judgement(picture)}`}><strong>{verdict.status}</strong>
    {verdict.reasons.length > 0 && <ul>{verdict.reasons.map((one) => <li key={one.sentence}>{one.sentence}</li>)}</ul>}</div>;
}

export const Shown = ({ id, alt }: { id: string; alt: string }) => <img src={pictureOf(id)} alt={alt} loading="lazy" />;

export function words(job: Job): string {
  if (job.kind === "replay") return "Replay";
  if (job.kind === "dataset") return `Data set "${job.request.name}"`;
  if (job.kind === "train") return `Training of ${job.request.method}`;
  return job.request.prompt || job.request.options?.target || "no words";
}

export function status(job: Job): string {
  if (job.cancelling && job.state === "running") return "stopping";
  if (job.state !== "running") return job.state === "queued" ? "waiting" : job.state;
  return job.steps && job.doing !== "starting" ? `${job.doing}, ${job.step} of ${job.steps}` : job.doing;
}

export function Progress({ job }: { job: Job }) {
  const going = job.state === "running" && job.steps > 0;
  return <div class="going" aria-live="polite"><progress aria-label={words(job)} max={going ? job.steps : 1} value={going ? job.step : job.state === "running" ? undefined : 0} />
    <span>{status(job)}</span></div>;
}

export function Act({ to, children, onDone, kind }: { to: () => Promise<unknown>; children: ComponentChildren; onDone?: () => void; kind?: string }) {
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState("");
  const act = async () => {
    setBusy(true);
    setTrouble("");
    try { await to(); onDone?.(); } catch (error) { setTrouble((error as Error).message); }
    setBusy(false);
  };
  return <><button type="button" class={kind} disabled={busy} onClick={act}>{children}</button>{trouble && <Trouble words={trouble} />}</>;
}

export const Cancel = ({ job }: { job: Job }) => job.state === "queued" || job.state === "running"
  ? <Act to={() => post(`/jobs/${job.id}/cancel`)}>{job.cancelling ? "Stopping" : "Cancel"}</Act> : null;
export const Retry = ({ job }: { job: Job }) => job.state === "failed" || job.state === "cancelled"
  ? <Act to={() => post(`/jobs/${job.id}/retry`)}>Try again</Act> : null;

// The picture a job makes, from the first preview to the finished one; its place is there from the start.
export function Forming({ job, number = 0 }: { job: Job; number?: number }) {
  const done = job.result?.pictures?.[number];
  if (done) return <img class="stage-picture" src={fileOf(job, done.file)} alt={words(job)} />;
  if (job.preview > 0 && job.state === "running") return <img class="stage-picture forming" src={previewOf(job)} alt="The picture as it forms" />;
  return <div class={`stage-picture blank ${job.state}`}><span>{job.state === "failed" || job.state === "cancelled" ? "Nothing was painted" : job.state === "running" ? "" : status(job)}</span></div>;
}

export function Slider({ before, after, names }: { before: string; after: string; names: [string, string] }) {
  const [at, setAt] = useState(50);
  const id = useId();
  return <div class="slider"><div class="slider-pictures">
    <img src={after} alt={names[1]} /><img src={before} alt={names[0]} style={{ clipPath: `inset(0 ${100 - at}% 0 0)` }} />
    <div class="slider-line" style={{ left: `${at}%` }} /></div>
    <label class="away" for={id}>{names[0]} on the left, {names[1]} on the right</label>
    <input id={id} type="range" min="0" max="100" value={at} onInput={(event) => setAt(Number(event.currentTarget.value))} />
    <div class="slider-names"><span>{names[0]}</span><span>{names[1]}</span></div></div>;
}

export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const place = useRef<HTMLDialogElement>(null);
  useEffect(() => { place.current?.showModal(); }, []);
  return <dialog ref={place} aria-label={title} onClose={onClose} onClick={(event) => { if (event.target === place.current) place.current?.close(); }}>
    <div class="dialog-body"><header><h2>{title}</h2><button type="button" class="quiet" onClick={() => place.current?.close()}>Close</button></header>{children}</div>
  </dialog>;
}

// Lines over steps, each scaled to its own largest value, as the run's own chart does.
export function Chart({ title, lines }: { title: string; lines: { name: string; points: [number, number][] }[] }) {
  const shown = lines.filter((line) => line.points.length > 0);
  const steps = Math.max(1, ...shown.flatMap((line) => line.points.map(([x]) => x)));
  const W = 600, H = 200;
  return <figure class="chart"><svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={`${title} over ${steps} steps`} preserveAspectRatio="none">
    {[0.25, 0.5, 0.75].map((y) => <line key={y} x1="0" x2={W} y1={H * y} y2={H * y} class="grid-line" />)}
    {shown.map((line, index) => {
      const top = Math.max(1e-9, ...line.points.map(([, y]) => y));
      const path = line.points.map(([x, y], n) => `${n ? "L" : "M"}${(x / steps * W).toFixed(1)} ${(H - 6 - y / top * (H - 16)).toFixed(1)}`).join("");
      return line.points.length > 1 ? <path key={line.name} d={path} class={`line-${index % 4}`} vector-effect="non-scaling-stroke" />
        : <circle key={line.name} cx={line.points[0]![0] / steps * W} cy={H / 2} r="4" class={`line-${index % 4}`} />;
    })}</svg>
    <figcaption>{shown.length === 0 ? "Nothing to show yet" : shown.map((line, index) => <span key={line.name} class={`key-${index % 4}`}>
      {line.name} {line.points.at(-1)![1].toPrecision(3)}</span>)}</figcaption></figure>;
}
