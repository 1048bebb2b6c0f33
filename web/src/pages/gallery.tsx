// Gallery: everything that was painted, one picture closely, or several side by side.

import { useEffect, useState } from "preact/hooks";
import { fileOf, get, pictureOf, post, remove, submit, type Job, type Painted, type Person } from "../api";
import { draft, go, shared, useShared } from "../state";
import { Act, Dialog, Empty, Link, percent, Retry, Slider, status, Trouble, words } from "../ui";
import { Score } from "./make";

interface Page { jobs: Job[]; next: number | null }
const painted = (job: Job) => (job.kind === "paint" || job.kind === "replay") && (job.result?.pictures?.length ?? 0) > 0;

export function Gallery({ open }: { open?: string | undefined }) {
  const { jobs } = useShared();
  const [search, setSearch] = useState("");
  const [found, setFound] = useState<Map<string, Job> | null>(null);
  const [next, setNext] = useState<number | null>(null);
  const [chosen, setChosen] = useState<string[]>([]);
  const [side, setSide] = useState(false);
  const [trouble, setTrouble] = useState("");

  const load = async (before?: number) => {
    const query = new URLSearchParams({ limit: "60", search, ...(before === undefined ? {} : { before: String(before) }) });
    try {
      const page = await get<Page>(`/jobs?${query}`);
      setFound((known) => new Map([...(before === undefined ? [] : known ?? []), ...page.jobs.map((job) => [job.id, job] as const)]));
      setNext(page.next);
      setTrouble("");
    } catch (error) { setTrouble((error as Error).message); }
  };
  useEffect(() => { const wait = setTimeout(() => load(), search ? 200 : 0); return () => clearTimeout(wait); }, [search]);

  const all = new Map(found ?? []);
  for (const job of jobs.values()) if (!search || all.has(job.id)) all.set(job.id, job);
  const shown = [...all.values()].filter(painted).sort((a, b) => b.number - a.number);
  const broken = [...all.values()].filter((job) => job.kind === "paint" && job.state === "failed").sort((a, b) => b.number - a.number);
  const tiles = shown.flatMap((job) => job.result!.pictures!.map((one) => ({ job, one, id: `${job.id}/${one.file}` })));
  const picked = tiles.filter((one) => chosen.includes(one.id));

  if (open) return <Closer id={open} known={all.get(open)} />;
  return <><h1>Gallery</h1>
    <div class="row bar"><label class="away" for="search">Search</label><input id="search" type="search" placeholder="Search words or a method" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
      <button type="button" disabled={picked.length < 2} onClick={() => setSide(true)}>Side by side{picked.length ? ` (${picked.length})` : ""}</button></div>
    {trouble && <Trouble words={trouble} />}
    {!found ? <div class="tiles" aria-busy="true">{Array.from({ length: 8 }, (_, n) => <div class="tile blank" key={n} />)}</div>
      : tiles.length === 0 ? <Empty title={search ? "Nothing found" : "Nothing painted yet"}>{search ? <p>Try fewer words.</p> : <p><Link to="/">Make the first picture</Link></p>}</Empty>
      : <ul class="tiles">{tiles.map(({ job, one, id }) => <li class="tile" key={id}>
        <Link to={`/gallery/${job.id}`}><img src={fileOf(job, one.file)} alt={`${words(job)}, seed ${one.seed}`} loading="lazy" /></Link>
        <div class="tile-line"><label class="check"><input type="checkbox" checked={chosen.includes(id)} onChange={(event) => setChosen(event.currentTarget.checked ? [...chosen, id].slice(-6) : chosen.filter((x) => x !== id))} />
          <span class="away">Choose {one.prompt}, seed {one.seed}</span></label>
          <span class="tile-words">{one.prompt || words(job)}</span><span class="tile-score">{one.likeness != null ? percent(one.likeness) : ""}</span></div></li>)}</ul>}
    {next !== null && <p class="row"><button type="button" onClick={() => load(next)}>Show older ones</button></p>}
    {broken.length > 0 && <details class="broken"><summary>{broken.length} that failed</summary><ul class="rows">{broken.slice(0, 20).map((job) => <li key={job.id}>
      <span><strong>{words(job)}</strong><br /><span class="hint">{job.error}</span></span><span class="row"><Retry job={job} /></span></li>)}</ul></details>}
    {side && <Dialog title="Side by side" onClose={() => setSide(false)}><div class="compare-grid">{picked.map(({ job, one, id }) => <figure key={id}>
      <img src={fileOf(job, one.file)} alt={one.prompt} /><figcaption>{one.prompt}<br /><span class="hint">{job.request.method ?? job.kind}, seed {one.seed}{one.likeness != null ? `, ${percent(one.likeness)}` : ""}</span></figcaption></figure>)}</div></Dialog>}
  </>;
}

function Closer({ id, known }: { id: string; known: Job | undefined }) {
  const { methods, people, jobs } = useShared();
  const [asked, setAsked] = useState<Job | null | undefined>(known);
  const [number, setNumber] = useState(0);
  const [replay, setReplay] = useState<string | null>(null);
  const job = jobs.get(id) ?? asked;
  useEffect(() => { if (!known) get<Job>(`/jobs/${id}`).then(setAsked, () => setAsked(null)); }, [id]);
  if (job === null) return <Empty title="There is no such picture"><p><Link to="/gallery">Back to the gallery</Link></p></Empty>;
  if (!job) return <div aria-busy="true" />;
  const pictures = job.result?.pictures ?? [], one: Painted | undefined = pictures[number];
  const request = job.request;
  const reference: string | undefined = request.references?.[0] ?? request.people?.[0]?.references?.[0];
  const again = replay ? jobs.get(replay) : undefined;
  const result = again?.result ?? (job.kind === "replay" ? job.result : null);

  const send = async (method: string) => {
    const target = methods!.find((other) => other.name === method)!;
    const who = request.references?.[0] ? people?.find((other) => other.pictures.some((p) => p.id === request.references[0])) : undefined;
    // An edit takes the picture itself; the others take the person again.
    if (target.task === "edit" && one) {
      const owner = who ?? await post<Person>("/people", { name: "Painted", kind: job.result?.settings?.family === "mini" ? "sitter" : "real" });
      const made = await post<{ id: string }>(`/people/${owner.id}/pictures/from-job`, { job: job.id, file: one.file });
      await shared.refreshPeople();
      draft.value = { task: "edit", method, person: owner.id, references: [made.id], seed: one.seed };
    } else draft.value = { task: target.task, method, person: who?.id ?? "", references: request.references ?? [], prompt: request.prompt, seed: one?.seed ?? 0 };
    go("/");
  };
  return <article class="closer"><p><Link to="/gallery">Gallery</Link></p><h1>{words(job)}</h1>
    <div class="two"><div>
      {one ? (reference ? <Slider before={pictureOf(reference)} after={fileOf(job, one.file)} names={["reference", "painted"]} /> : <img class="stage-picture" src={fileOf(job, one.file)} alt={words(job)} />)
        : <div class="stage-picture blank"><span>{status(job)}</span></div>}
      {pictures.length > 1 && <ul class="thumbs big">{pictures.map((other, n) => <li key={other.file}><button type="button" class="thumb" aria-pressed={n === number} onClick={() => setNumber(n)}>
        <img src={fileOf(job, other.file)} alt={`seed ${other.seed}`} /></button></li>)}</ul>}
    </div><div>
      {one && job.kind === "paint" && <><h2>How alike</h2><p><Score job={job} number={number} /></p>
        <p class="hint">The chance that this is the person of the reference, as a recogniser sees it that the method was not told about. It compares pictures; it is no proof of identity.</p>
        {(one.explained ?? []).map((text) => <p class="hint" key={text}>{text}</p>)}</>}
      {job.error && <Trouble words={job.error} />}
      <h2>What next</h2><div class="row wrap">
        {one && job.kind === "paint" && <Act to={async () => { const made = await submit({ kind: "replay", job: job.id, file: one.file }); shared.take(made); setReplay(made.id); }}>Replay this picture</Act>}
        {one && job.kind === "paint" && methods?.filter((other) => !other.missing).map((other) => <Act key={other.name} to={() => send(other.name)}>Send to {other.name}</Act>)}
        {one && <a class="button" href={`${fileOf(job, one.file)}?download=true`}>Download</a>}
        <Retry job={job} />
        {job.state !== "queued" && job.state !== "running" && <Act kind="danger" to={() => remove(`/jobs/${job.id}`)} onDone={() => go("/gallery")}>Delete</Act>}</div>
      {again && !again.result && <p class="hint" aria-live="polite">Replay: {again.error ?? status(again)}</p>}
      {result?.identical !== undefined && <section class={`notice ${result.identical ? "good" : ""}`} aria-live="polite"><h2>{result.identical ? "Every pixel is the same" : "It is not the same picture"}</h2>
        {!result.identical && <table><thead><tr><th>What</th><th>Then</th><th>Now</th></tr></thead><tbody>{result.differences!.map((d) => <tr key={d.what}><td>{d.what}</td><td>{d.before}</td><td>{d.now}</td></tr>)}</tbody></table>}</section>}
      <h2>Recipe</h2><dl class="recipe">
        <div><dt>Method</dt><dd>{request.method ?? job.kind}</dd></div>{one && <div><dt>Seed</dt><dd>{one.seed}</dd></div>}
        {Object.entries(job.result?.settings ?? {}).filter(([key]) => ["base", "steps", "guidance", "size_px", "device", "dtype"].includes(key)).map(([key, value]) => <div key={key}><dt>{key.replaceAll("_", " ")}</dt><dd>{Array.isArray(value) ? value.join(" x ") : String(value)}</dd></div>)}
        {job.finished && job.started && <div><dt>Took</dt><dd>{(job.finished - job.started).toFixed(1)} s</dd></div>}</dl>
      <p class="hint">The picture's file holds the whole recipe, with the sha256 and licence of every weight behind it; the photo stays out of it.</p>
      {(job.result?.warnings ?? []).map((text) => <p class="hint" key={text}>{text}</p>)}
    </div></div></article>;
}
