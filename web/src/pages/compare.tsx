// Compare: one recipe through several methods, side by side.

import { useState } from "preact/hooks";
import { fileOf, pictureOf, submit, type Job } from "../api";
import { References } from "../references";
import { useShared } from "../state";
import { Cancel, Empty, Labelled, Link, percent, Retry, status, Trouble } from "../ui";

export function Compare() {
  const { methods, jobs } = useShared();
  const [person, setPerson] = useState("");
  const [chosen, setChosen] = useState<string[]>([]);
  const [prompt, setPrompt] = useState("");
  const [seed, setSeed] = useState("1");
  const [picked, setPicked] = useState<string[]>([]);
  const [wrong, setWrong] = useState("");
  if (!methods) return <div aria-busy="true" />;
  const groups = new Map<string, Job[]>();
  for (const job of [...jobs.values()].filter((one) => one.kind === "paint" && one.group).sort((a, b) => a.number - b.number))
    groups.set(job.group!, [...(groups.get(job.group!) ?? []), job]);

  const begin = async (event: Event) => {
    event.preventDefault();
    setWrong("");
    if (picked.length < 1) return setWrong("Choose the methods to compare.");
    if (methods.some((one) => picked.includes(one.name) && one.references.min > 0) && !chosen.length) return setWrong("Choose a picture of the person first, or invent a sitter.");
    const group = `c${Date.now().toString(36)}`;
    try {
      for (const name of picked) {
        const { references, own_adapter, adapters } = methods.find((one) => one.name === name)!;
        await submit({ kind: "paint", method: name, prompt, adapter: own_adapter || !references.max ? null : adapters.at(-1) ?? null, seed: Number(seed) || 0, references: references.max ? chosen.slice(0, references.max) : [], group });
      }
    } catch (error) { setWrong((error as Error).message); }
  };
  return <div class="make"><form class="panel" onSubmit={begin}><h1>Compare</h1>
    <p class="hint">The same person, words and seed through several methods.</p>
    <References label="Who is it?" min={1} max={8} person={person} chosen={chosen} onChange={(who, next) => { setPerson(who); setChosen(next); }} />
    <Labelled label="Words">{(id) => <textarea id={id} rows={3} value={prompt} placeholder="A woman wearing a red hat, smiling, in front of the sea." onInput={(event) => setPrompt(event.currentTarget.value)} />}</Labelled>
    <fieldset><legend>Methods</legend>{methods.map((one) => <label class="check" key={one.name}><input type="checkbox" disabled={Boolean(one.missing)} checked={picked.includes(one.name)}
      onChange={(event) => setPicked(event.currentTarget.checked ? [...picked, one.name] : picked.filter((name) => name !== one.name))} /> {one.name}{one.missing ? <span class="hint"> (no weights yet)</span> : ""}</label>)}</fieldset>
    <Labelled label="Seed">{(id) => <input id={id} type="number" min="0" value={seed} onInput={(event) => setSeed(event.currentTarget.value)} />}</Labelled>
    {wrong && <Trouble words={wrong} />}<div class="go"><button class="main">Compare</button></div></form>
    <section aria-label="Comparisons">{groups.size === 0 ? <Empty title="Nothing compared yet"><p>Choose a person, words and two methods. What people think of the pictures can be asked in a <Link to="/study">study</Link>.</p></Empty>
      : [...groups.entries()].reverse().map(([group, rows]) => <Comparison key={group} rows={rows} />)}</section></div>;
}

function Comparison({ rows }: { rows: Job[] }) {
  const request = rows[0]!.request, reference = request.references[0] ?? rows.find((job) => job.request.references[0])?.request.references[0];
  return <article class="comparison"><h2>{request.prompt || "no words"}</h2><div class="compare-grid">
    {reference && <figure><img src={pictureOf(reference)} alt="The reference" /><figcaption>reference</figcaption></figure>}
    {rows.map((job) => { const one = job.result?.pictures?.[0]; return <figure key={job.id}>
      {one ? <Link to={`/gallery/${job.id}`}><img src={fileOf(job, one.file)} alt={`By ${job.request.method}`} /></Link> : <div class="stage-picture blank"><span>{job.state === "failed" ? "failed" : status(job)}</span></div>}
      <figcaption><strong>{job.request.method}</strong>{one?.likeness != null ? ` ${percent(one.likeness)}` : ""}
        {job.result?.timings_s?.total !== undefined && <><br /><span class="hint">{job.result.timings_s.total.toFixed(1)} s, {job.result.peak_memory_mib?.cuda ?? job.result.peak_memory_mib?.process} MiB</span></>}
        {job.error && <><br /><span class="hint">{job.error}</span></>}<span class="row"><Cancel job={job} /><Retry job={job} /></span></figcaption></figure>; })}</div></article>;
}
