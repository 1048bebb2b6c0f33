// Make: who, what words, which method; the picture as it forms beside it.

import { useEffect, useMemo, useState } from "preact/hooks";
import { fileOf, submit, type Job, type Method } from "../api";
import { Options } from "../form";
import { Boxes, References, type Figure } from "../references";
import { draft, go, useShared } from "../state";
import { Cancel, Empty, Forming, Labelled, Link, percent, Progress, Retry, Segments, status, Text, Trouble, words } from "../ui";

const TASKS: Record<string, { name: string; who: string; words: string; example: string }> = {
  generate: { name: "Portrait", who: "Who is it?", words: "What the portrait shows", example: "A woman wearing a red hat, smiling, in front of the sea." },
  edit: { name: "Edit", who: "Which picture?", words: "What to change", example: "put on a red hat" },
  collect: { name: "Collection", who: "Who is it?", words: "What to change, a picture a line", example: "turn the head to the left, smile\nmake it a close-up" },
  restyle: { name: "Restyle", who: "Who is it?", words: "Words, if any", example: "" },
  customise: { name: "Customise", who: "", words: "What the portrait shows", example: "A woman with long hair, in a room." },
};
const SPOTS: Figure["box"][] = [[0.03, 0.1, 0.47, 1], [0.53, 0.1, 0.97, 1], [0.3, 0.1, 0.7, 1]];
const random = () => Math.floor(Math.random() * 1_000_000);
const number = (text: string) => (text.trim() === "" ? null : Number(text));

export function Make() {
  const { methods, people, trouble, jobs } = useShared();
  const first = useMemo(() => { const sent = draft.value; draft.value = null; return sent; }, []);
  const tasks = Object.keys(TASKS).filter((task) => methods?.some((one) => one.task === task));
  const [task, setTask] = useState(first?.task ?? "generate");
  const [name, setName] = useState(first?.method ?? "");
  const [person, setPerson] = useState(first?.person ?? "");
  const [chosen, setChosen] = useState<string[]>(first?.references ?? []);
  const [prompt, setPrompt] = useState(first?.prompt ?? "");
  const [negative, setNegative] = useState("");
  const [seed, setSeed] = useState(String(first?.seed ?? random()));
  const [count, setCount] = useState("1");
  const [best, setBest] = useState("1");
  const [steps, setSteps] = useState("");
  const [guidance, setGuidance] = useState("");
  const [adapter, setAdapter] = useState("");
  const [options, setOptions] = useState<Record<string, unknown>>(first?.options ?? {});
  const [figures, setFigures] = useState<Figure[]>([]);
  const [style, setStyle] = useState<{ person: string; chosen: string[] }>({ person: "", chosen: [] });
  const [strength, setStrength] = useState("0.6");
  const [wrong, setWrong] = useState("");
  const [sent, setSent] = useState<string[]>([]);

  const several = methods?.filter((one) => one.task === task) ?? [];
  const method: Method | undefined = several.find((one) => one.name === name) ?? several[0];
  useEffect(() => { if (method && first?.method && method.name === first.method && method.task !== task) setTask(method.task); }, [method]);
  if (trouble) return <Empty title="The studio did not start well"><p>{trouble}</p></Empty>;
  if (!methods || !method) return <div class="make loading" aria-busy="true" />;
  const about = TASKS[task]!;
  const crowd = figures.length > 0;
  const blocked = method.missing;
  // Where the base brings no weights, the newest ones that are here.
  const weights = adapter || (method.own_adapter || !method.references.max ? "" : method.adapters.at(-1) ?? "");
  const current = [...sent.map((id) => jobs.get(id)), ...[...jobs.values()].filter((one) => one.kind === "paint" && !one.group && one.state !== "cancelled" && one.state !== "failed")
    .sort((a, b) => b.number - a.number)].find((one): one is Job => Boolean(one));

  const paint = async (event: Event) => {
    event.preventDefault();
    setWrong("");
    if (blocked) return setWrong(blocked);
    if (!crowd && method.references.min > chosen.length) return setWrong("Choose a picture of the person first, or invent a sitter.");
    if (crowd && figures.some((one) => !one.references.length)) return setWrong("Every box needs a person.");
    try {
      const job = await submit({ kind: "paint", method: method.name, prompt, negative_prompt: negative, seed: Number(seed) || 0, count: Number(count) || 1,
        best_of: Number(best) || 1, steps: number(steps), guidance: number(guidance), adapter: weights || null, options,
        references: crowd || method.references.max === 0 ? [] : chosen,
        people: crowd ? figures.map(({ references, box, prompt }) => ({ references, box, prompt })) : [],
        image: style.chosen[0] ?? null, strength: style.chosen[0] ? Number(strength) : 1 });
      setSent([job.id, ...sent]);
    } catch (error) { setWrong((error as Error).message); }
  };
  const ofPerson = (id: string) => people?.find((one) => one.id === id)?.name ?? "Somebody";

  return <div class="make"><form class="panel" onSubmit={paint} onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) paint(event); }}>
    <h1>Make</h1>
    <Segments label="What to make" value={task} options={tasks.map((one) => [one, TASKS[one]!.name])} onChange={(next) => { setTask(next); setName(""); setOptions({}); setAdapter(""); setFigures([]); }} />
    {several.length > 1 && <Labelled label="Method">{(id) => <select id={id} value={method.name} onChange={(event) => { setName(event.currentTarget.value); setOptions({}); setAdapter(""); }}>
      {several.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}</select>}</Labelled>}
    {blocked && <section class="notice"><h2>{method.name} has no weights yet</h2><p><Text words={blocked} /></p>{method.trainable && <p><Link to="/train">Train it here</Link></p>}</section>}
    {method.references.max > 0 && !crowd && <References label={about.who} min={method.references.min} max={method.references.max} person={person} chosen={chosen}
      onChange={(who, next) => { setPerson(who); setChosen(next); }} />}
    {crowd && <fieldset class="references"><legend>Who is where?</legend>
      <p class="hint">Choose a person, then draw where they are.</p>
      <Boxes figures={figures} names={figures.map((one, index) => one.person ? ofPerson(one.person) : `Person ${index + 1}`)}
        onChange={(index, box) => setFigures((all) => all.map((one, n) => n === index ? { ...one, box } : one))} />
      {figures.map((one, index) => <div class="figure" key={index}>
        <References label={`Person ${index + 1}`} min={1} max={4} person={one.person} chosen={one.references}
          onChange={(who, references) => setFigures((all) => all.map((other, n) => n === index ? { ...other, person: who, references } : other))} />
        <Labelled label="Words for this person alone">{(id) => <input id={id} type="text" value={one.prompt} onInput={(event) => { const text = event.currentTarget.value; setFigures((all) => all.map((other, n) => n === index ? { ...other, prompt: text } : other)); }} />}</Labelled></div>)}
    </fieldset>}
    {task === "generate" && <div class="row">
      <button type="button" class="quiet" onClick={() => setFigures(crowd ? (figures.length > 2 ? figures : [...figures, { person: "", references: [], box: SPOTS[2]!, prompt: "" }])
        : [{ person, references: chosen, box: SPOTS[0]!, prompt: "" }, { person: "", references: [], box: SPOTS[1]!, prompt: "" }])} disabled={figures.length > 2}>
        {crowd ? "Add a third person" : "Several people in one picture"}</button>
      {crowd && <button type="button" class="quiet" onClick={() => setFigures([])}>One person only</button>}</div>}
    <Labelled label={about.words}>{(id) => <textarea id={id} rows={3} maxLength={1000} value={prompt} placeholder={about.example} onInput={(event) => setPrompt(event.currentTarget.value)} />}</Labelled>
    {(task === "generate" && !crowd || task === "restyle") && <details open={task === "restyle"}><summary>{task === "restyle" ? "The picture that gives the style" : "Paint into a picture"}</summary>
      <References label={task === "restyle" ? "Style" : "The picture to paint into"} min={0} max={1} person={style.person} chosen={style.chosen} onChange={(who, next) => setStyle({ person: who, chosen: next })} />
      <Labelled label="How far from what is there">{(id) => <input id={id} type="range" min="0.05" max="1" step="0.05" value={strength} onInput={(event) => setStrength(event.currentTarget.value)} />}</Labelled></details>}
    <details><summary>{method.name}'s options</summary>
      {method.adapters.length > 0 && <Labelled label="Weights">{(id) => <select id={id} value={weights} onChange={(event) => setAdapter(event.currentTarget.value)}>
        {(method.own_adapter || !method.references.max) && <option value="">{method.own_adapter ? "The base's own" : "None"}</option>}{method.adapters.map((one) => <option key={one} value={one}>{one}</option>)}</select>}</Labelled>}
      <Options schema={method.options} values={options} onChange={setOptions} leave={["face_box"]} /></details>
    <details><summary>Seed, count and steps</summary><div class="grid2">
      <Labelled label="Seed" hint="The same seed gives the same pixels.">{(id, hint) => <div class="row"><input id={id} aria-describedby={hint} type="number" min="0" value={seed} onInput={(event) => setSeed(event.currentTarget.value)} /><button type="button" class="quiet small" onClick={() => setSeed(String(random()))}>New</button></div>}</Labelled>
      <Labelled label="Pictures">{(id) => <input id={id} type="number" min="1" max="16" value={count} onInput={(event) => setCount(event.currentTarget.value)} />}</Labelled>
      <Labelled label="Keep the likest of">{(id) => <input id={id} type="number" min="1" max="8" value={best} onInput={(event) => setBest(event.currentTarget.value)} />}</Labelled>
      <Labelled label="Steps">{(id) => <input id={id} type="number" min="1" max="250" placeholder="own" value={steps} onInput={(event) => setSteps(event.currentTarget.value)} />}</Labelled>
      <Labelled label="Guidance">{(id) => <input id={id} type="number" min="1" max="50" step="0.5" placeholder="own" value={guidance} onInput={(event) => setGuidance(event.currentTarget.value)} />}</Labelled>
      <Labelled label="Keep out">{(id) => <input id={id} type="text" value={negative} onInput={(event) => setNegative(event.currentTarget.value)} />}</Labelled></div></details>
    {wrong && <Trouble words={wrong} />}
    <div class="go"><button class="main" type="submit" disabled={Boolean(blocked)}>Paint</button><span class="hint keys">Ctrl Enter</span></div>
    <p class="hint">{method.title}. <a href={method.paper_url} rel="noreferrer">The paper</a></p>
  </form><Stage job={current} queue={[...jobs.values()].filter((one) => one.state === "queued" || one.state === "running").sort((a, b) => a.number - b.number)} /></div>;
}

function Stage({ job, queue }: { job: Job | undefined; queue: Job[] }) {
  const pictures = job?.result?.pictures ?? [];
  return <section class="stage" aria-label="The picture">
    {job ? <>
      <Forming job={job} />
      <div class="stage-line">{job.state === "running" || job.state === "queued" ? <Progress job={job} /> : <p class="done-line">{job.state === "done" ? <Score job={job} /> : status(job)}</p>}
        <div class="row"><Cancel job={job} /><Retry job={job} />{job.state === "done" && <button type="button" onClick={() => go(`/gallery/${job.id}`)}>Look closer</button>}</div></div>
      {job.error && <Trouble words={job.error} />}
      {(job.result?.warnings ?? []).map((one) => <p class="hint" key={one}>{one}</p>)}
      {pictures.length > 1 && <ul class="thumbs big">{pictures.map((one) => <li key={one.file}><Link to={`/gallery/${job.id}`} class="thumb"><img src={fileOf(job, one.file)} alt={`${one.prompt}, seed ${one.seed}`} /></Link></li>)}</ul>}
    </> : <div class="stage-picture blank"><span>Your picture forms here.<br />Drop a photo, or invent a sitter, and press Paint.</span></div>}
    {queue.length > 0 && <><h2>Queue</h2><ul class="queue">{queue.slice(0, 8).map((one) => <li key={one.id}><span>{words(one)}</span><span class="hint">{status(one)}</span><Cancel job={one} /></li>)}</ul>
      {queue.length > 8 && <p class="hint">and {queue.length - 8} more</p>}</>}
  </section>;
}

export function Score({ job, number = 0 }: { job: Job; number?: number }) {
  const one = job.result?.pictures?.[number], own = job.result?.likeness?.own_pictures;
  if (!one) return <span>done</span>;
  if (one.likeness !== null && one.likeness !== undefined) return <span><strong>{percent(one.likeness)}</strong> likely the same person{own ? `; two real pictures of one person get ${percent(own)}` : ""}</span>;
  const cosines = Object.entries(one.cosines ?? {});
  if (cosines.length) return <span>{cosines.map(([name, value]) => `cosine ${value.toFixed(2)} by ${name}`).join(", ")}</span>;
  return <span class="hint">{one.reason ? `No likeness score: ${one.reason}` : "done"}</span>;
}
