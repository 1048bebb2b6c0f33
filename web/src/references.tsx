// Who is on the picture: people, their photos with the doctor's verdict, and their consent.

import { useRef, useState } from "preact/hooks";
import { pictureOf, post, put, upload, type Person, type Picture } from "./api";
import { shared, useShared } from "./state";
import { Act, judgement, Labelled, Trouble, Verdict } from "./ui";

const ACCEPT = "image/jpeg,image/png,image/webp,image/bmp,image/tiff,image/gif";

export function Consent({ person }: { person: Person }) {
  const [by, setBy] = useState("");
  const [agreed, setAgreed] = useState(false);
  const statement = `${person.name} agreed that portraits are painted of them on this machine.`;
  return <section class="notice"><h2>{person.name} is a real person</h2>
    <p>Nothing is painted of a real person before somebody says that they agreed. This is kept with the person.</p>
    <Labelled label="Whose word is this?">{(id) => <input id={id} type="text" maxLength={200} value={by} placeholder="Your name" onInput={(event) => setBy(event.currentTarget.value)} />}</Labelled>
    <label class="check"><input type="checkbox" checked={agreed} onChange={(event) => setAgreed(event.currentTarget.checked)} /> {statement}</label>
    <Act kind="main" to={async () => {
      if (!by.trim() || !agreed) throw new Error("Give a name and tick the box.");
      await put(`/people/${person.id}/consent`, { given_by: by.trim(), statement });
      await shared.refreshPeople();
    }}>Record consent</Act></section>;
}

export function References({ min, max, person, chosen, onChange, label }:
  { min: number; max: number; person: string; chosen: string[]; label: string; onChange: (person: string, chosen: string[]) => void }) {
  const { people } = useShared();
  const [busy, setBusy] = useState(0);
  const [trouble, setTrouble] = useState("");
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const owner = people?.find((one) => one.id === person);

  const add = async (files: File[]) => {
    setTrouble("");
    if (!files.length) return;
    setBusy(files.length);
    let who = owner, next = chosen;
    try {
      who ??= await post<Person>("/people", { name: files[0]!.name.replace(/\.[^.]*$/, "").slice(0, 100) || "Somebody" });
      for (const file of files) {
        if (file.size > 25 * 2 ** 20) throw new Error(`${file.name} has more than 25 MiB; scale it down.`);
        const made: Picture = await upload(who.id, file, file.name);
        // A picture that shows a sitter makes its person one only when they were made as one.
        if (made.verdict?.status !== "unusable" && next.length < max) next = [...next, made.id];
        setBusy((n) => n - 1);
      }
    } catch (error) { setTrouble((error as Error).message); }
    await shared.refreshPeople();
    if (who) onChange(who.id, next);
    setBusy(0);
  };
  const sitter = async () => {
    const made = await post<Person>("/sitters/reference", { seed: 10_000_000 + Math.floor(Math.random() * 10_000) });
    await shared.refreshPeople();
    onChange(made.id, made.pictures.map((one) => one.id).slice(0, max));
  };
  const toggle = (id: string) => onChange(person, chosen.includes(id) ? chosen.filter((one) => one !== id) : max === 1 ? [id] : [...chosen, id].slice(-max));

  return <fieldset class="references"><legend>{label}</legend>
    <div class="row">
      <select aria-label="Person" value={person} onChange={(event) => {
        const next = people?.find((one) => one.id === event.currentTarget.value);
        onChange(event.currentTarget.value, next ? next.pictures.filter((one) => judgement(one) !== "bad").map((one) => one.id).slice(0, max) : []);
      }}><option value="">Somebody new</option>{people?.map((one) => <option key={one.id} value={one.id}>{one.name}{one.kind === "sitter" ? " (sitter)" : ""}</option>)}</select>
      <Act to={sitter}>Invent a sitter</Act>
    </div>
    <div class={`drop ${over ? "over" : ""}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
      onDrop={(event) => { event.preventDefault(); setOver(false); add([...(event.dataTransfer?.files ?? [])]); }}
      onPaste={(event) => add([...(event.clipboardData?.files ?? [])])}>
      {owner && owner.pictures.length > 0 && <ul class="thumbs">{owner.pictures.map((one) => <li key={one.id}>
        <button type="button" class={`thumb ${judgement(one)}`} aria-pressed={chosen.includes(one.id)} onClick={() => toggle(one.id)}
          title={[one.verdict?.status, ...(one.verdict?.reasons.map((r) => r.sentence) ?? [])].join("\n")}>
          <img src={pictureOf(one.id)} alt={`${one.label || "reference"}, ${one.verdict?.status ?? "not judged"}`} /></button></li>)}</ul>}
      <button type="button" onClick={() => input.current?.click()} disabled={busy > 0}>{busy ? `Looking at ${busy}` : owner?.pictures.length ? "Add photos" : "Choose photos"}</button>
      <span class="hint">or drop them here{max > 1 ? `, up to ${max}` : ""}</span>
      <input ref={input} class="away" type="file" tabIndex={-1} aria-label="Photos" accept={ACCEPT} multiple={max > 1}
        onChange={(event) => { add([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
    </div>
    {chosen.map((id) => owner?.pictures.find((one) => one.id === id)).filter((one): one is Picture => Boolean(one) && judgement(one!) !== "good")
      .map((one) => <Verdict key={one.id} picture={one} />)}
    {owner?.pictures.filter((one) => judgement(one) === "bad" && !chosen.includes(one.id)).slice(-1).map((one) => <Verdict key={one.id} picture={one} />)}
    {trouble && <Trouble words={trouble} />}
    {owner?.kind === "real" && !owner.consent && owner.pictures.length > 0 && <Consent person={owner} />}
    {min > chosen.length && owner && <p class="hint">{min === 1 ? "Choose one picture." : `Choose at least ${min}.`}</p>}
  </fieldset>;
}

// One box a person, drawn on the picture's outline with a pointer, or moved with arrow keys.
export interface Figure { person: string; references: string[]; box: [number, number, number, number]; prompt: string }

export function Boxes({ figures, names, onChange }: { figures: Figure[]; names: string[]; onChange: (index: number, box: Figure["box"]) => void }) {
  const place = useRef<HTMLDivElement>(null);
  const drawing = useRef<{ index: number; x: number; y: number } | null>(null);
  const [active, setActive] = useState(0);
  const at = (event: PointerEvent): [number, number] => {
    const area = place.current!.getBoundingClientRect();
    const clip = (value: number) => Math.min(1, Math.max(0, value));
    return [clip((event.clientX - area.left) / area.width), clip((event.clientY - area.top) / area.height)];
  };
  const nudge = (event: KeyboardEvent, index: number) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const [x0, y0, x1, y1] = figures[index]!.box, [dx, dy] = [by[0]! * 0.03, by[1]! * 0.03];
    const next: Figure["box"] = event.shiftKey ? [x0, y0, Math.max(x0 + 0.1, Math.min(1, x1 + dx)), Math.max(y0 + 0.1, Math.min(1, y1 + dy))]
      : [Math.max(0, Math.min(x0 + dx, 1 - (x1 - x0))), Math.max(0, Math.min(y0 + dy, 1 - (y1 - y0))), 0, 0];
    if (!event.shiftKey) { next[2] = next[0] + x1 - x0; next[3] = next[1] + y1 - y0; }
    onChange(index, next);
  };
  return <div class="boxes" ref={place}
    onPointerDown={(event) => {
      const [x, y] = at(event);
      drawing.current = { index: active, x, y };
      place.current!.setPointerCapture(event.pointerId);
      event.preventDefault();
    }}
    onPointerMove={(event) => {
      if (!drawing.current) return;
      const [x, y] = at(event), from = drawing.current;
      if (Math.abs(x - from.x) < 0.05 || Math.abs(y - from.y) < 0.05) return;
      onChange(from.index, [Math.min(x, from.x), Math.min(y, from.y), Math.max(x, from.x), Math.max(y, from.y)]);
    }}
    onPointerUp={() => { drawing.current = null; }}>
    {figures.map((one, index) => <button type="button" key={index} class={`box box-${index % 6}`} aria-pressed={active === index}
      aria-label={`${names[index]}: arrows move the box, with shift they change its size`}
      style={{ left: `${one.box[0] * 100}%`, top: `${one.box[1] * 100}%`, width: `${(one.box[2] - one.box[0]) * 100}%`, height: `${(one.box[3] - one.box[1]) * 100}%` }}
      onPointerDown={(event) => { if (active !== index) { setActive(index); event.stopPropagation(); } }} onFocus={() => setActive(index)}
      onKeyDown={(event) => nudge(event, index)}>{names[index]}</button>)}
  </div>;
}
