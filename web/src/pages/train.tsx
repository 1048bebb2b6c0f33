// Train: data sets made and checked, trainings with their curves while they run.

import { useEffect, useState } from "preact/hooks";
import { get, submit, type Job } from "../api";
import { jobsOf, useShared } from "../state";
import { Act, Cancel, Chart, Empty, Labelled, Progress, Retry, status, Trouble } from "../ui";

interface Curves { losses: Record<string, number>[]; scores: { step: number; score: number | null }[]; validation: string[] }
interface Problem { file: string; line: number | null; column: number | string | null; text: string }

export function Train() {
  const { methods, people } = useShared();
  const [name, setName] = useState("Six sitters");
  const [person, setPerson] = useState("");
  const [count, setCount] = useState("6");
  const [method, setMethod] = useState("");
  const [dataset, setDataset] = useState("");
  const [steps, setSteps] = useState("200");
  const [batch, setBatch] = useState("8");
  const [minutes, setMinutes] = useState("1");
  const [wrong, setWrong] = useState("");
  const datasets = jobsOf("dataset"), runs = jobsOf("train"), ready = datasets.filter((one) => one.state === "done");
  const trainable = methods?.filter((one) => one.trainable) ?? [];
  const begin = async (event: Event) => {
    event.preventDefault();
    setWrong("");
    try {
      await submit({ kind: "train", method: method || trainable[0]!.name, dataset: dataset || ready[0]!.id, steps: Number(steps), batch_size: Number(batch), checkpoint_minutes: Number(minutes), hold_out: 1 });
    } catch (error) { setWrong((error as Error).message); }
  };
  return <><h1>Train</h1><div class="two even">
    <section class="panel"><h2>1. A data set</h2>
      <Labelled label="Name">{(id) => <input id={id} type="text" maxLength={80} value={name} onInput={(event) => setName(event.currentTarget.value)} />}</Labelled>
      <Labelled label="Of whom">{(id) => <select id={id} value={person} onChange={(event) => setPerson(event.currentTarget.value)}><option value="">Synthetic people</option>
        {people?.map((one) => <option key={one.id} value={one.id}>{one.name}, {one.pictures.length} pictures</option>)}</select>}</Labelled>
      {!person && <Labelled label="How many people" hint="Three pictures of each, with their captions.">{(id, hint) => <input id={id} aria-describedby={hint} type="number" min="1" max="500" value={count} onInput={(event) => setCount(event.currentTarget.value)} />}</Labelled>}
      <div class="go"><Act kind="main" to={() => submit({ kind: "dataset", name, person: person || null, people: Number(count) || 1 })}>Make the data set</Act></div>
      {datasets.length > 0 && <ul class="rows">{datasets.map((one) => <Made key={one.id} job={one} />)}</ul>}</section>
    <form class="panel" onSubmit={begin}><h2>2. A training</h2>
      {!ready.length ? <p class="hint">Make a data set first; what is learned lands among the method's weights on the page Make.</p> : <>
        <Labelled label="Data set">{(id) => <select id={id} value={dataset} onChange={(event) => setDataset(event.currentTarget.value)}>{ready.map((one) => <option key={one.id} value={one.id}>{one.request.name}</option>)}</select>}</Labelled>
        <Labelled label="Method">{(id) => <select id={id} value={method} onChange={(event) => setMethod(event.currentTarget.value)}>{trainable.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}</select>}</Labelled>
        <div class="grid2"><Labelled label="Steps">{(id) => <input id={id} type="number" min="1" value={steps} onInput={(event) => setSteps(event.currentTarget.value)} />}</Labelled>
          <Labelled label="Pictures at once">{(id) => <input id={id} type="number" min="1" max="512" value={batch} onInput={(event) => setBatch(event.currentTarget.value)} />}</Labelled>
          <Labelled label="Minutes between checks">{(id) => <input id={id} type="number" min="0.1" step="0.1" value={minutes} onInput={(event) => setMinutes(event.currentTarget.value)} />}</Labelled></div>
        {wrong && <Trouble words={wrong} />}<div class="go"><button class="main">Train</button></div></>}</form></div>
    <h2>Trainings</h2>
    {runs.length === 0 ? <Empty title="Nothing trained yet"><p>A training shows its curves and validation pictures here while it runs. It goes on where it was after any stop.</p></Empty> : runs.map((one) => <Run key={one.id} job={one} />)}</>;
}

function Made({ job }: { job: Job }) {
  const [problems, setProblems] = useState<Problem[] | null>(null);
  const left = Object.entries(job.result?.left_out ?? {});
  return <li><span><strong>{job.request.name}</strong><br /><span class="hint">{job.result?.pictures_count !== undefined ? `${job.result.pictures_count} pictures of ${job.result.people_count}` : job.error ?? status(job)}{left.length ? `, ${left.length} left out` : ""}</span>
    {left.slice(0, 3).map(([file, why]) => <span class="hint block" key={file}>{file}: {why}</span>)}
    {problems && <span class="hint block" aria-live="polite">{problems.length ? problems.slice(0, 5).map((one) => `${one.file}${one.line ? `:${one.line}` : ""}: ${one.text}`).join("\n") : "Checked: nothing is wrong."}</span>}</span>
    <span class="row"><Cancel job={job} /><Retry job={job} />{job.state === "done" && <Act to={async () => setProblems(await get(`/datasets/${job.id}/check`))}>Check</Act>}</span></li>;
}

function Run({ job }: { job: Job }) {
  const [curves, setCurves] = useState<Curves | null>(null);
  const going = job.state === "running";
  useEffect(() => {
    let wanted = true;
    const load = () => get<Curves>(`/runs/${job.id}`).then((found) => { if (wanted) setCurves(found); }, () => undefined);
    load();
    const timer = going ? setInterval(load, 2000) : 0;
    return () => { wanted = false; clearInterval(timer); };
  }, [job.id, job.state]);
  const names = Object.keys(curves?.losses[0] ?? {}).filter((name) => name.includes("loss") || name.endsWith("/total")).slice(0, 4);
  const lines = names.map((name) => ({ name: name.split("/").at(-1)!, points: (curves?.losses ?? []).filter((row) => name in row).map((row) => [row.step ?? 0, row[name]!] as [number, number]) }));
  const scores = { name: "score", points: (curves?.scores ?? []).filter((row) => row.score !== null).map((row) => [row.step, row.score!] as [number, number]) };
  const last = curves?.validation.at(-1);
  return <article class="run panel"><h3>{job.request.method}, {job.request.steps} steps</h3>
    {job.state === "queued" || going ? <Progress job={job} /> : <p class="hint">{job.error ?? `${status(job)}${job.result?.score != null ? `, best score ${job.result.score.toFixed(2)} at step ${job.result.best_step}` : ""}`}</p>}
    <div class="two even"><Chart title="Losses and scores" lines={[...lines, scores]} />
      {last ? <img class="sheet" src={`/api/runs/${job.id}/validation/${last}?n=${curves!.validation.length}`} alt="What the averaged weights paint: references beside pictures" /> : <div class="sheet blank"><span>Validation pictures come with the first check</span></div>}</div>
    <div class="row"><Cancel job={job} /><Retry job={job} /></div></article>;
}
