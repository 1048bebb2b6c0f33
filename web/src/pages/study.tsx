// Study: people judge pictures, blind; what they say is counted.

import { useEffect, useState } from "preact/hooks";
import { get, post } from "../api";
import { go, jobsOf, useShared } from "../state";
import { Act, Empty, Labelled, Link, percent, Segments, Trouble } from "../ui";

interface Listed { name: string; kind: string; items: number; raters: number }
interface Item { id: string; prompt: string; reference: string; pictures: string[]; answers: Record<string, string> }
interface Shown { kind: string; questions: Record<string, string>; choices: string[]; items: Item[] }
interface Score { mean: number | null; low: number; high: number; n: number }
interface Report { kind: string; variants: string[]; questions: Record<string, { question?: string; scores: Record<string, Score>; alpha: number | null }> }

export function Study({ name, page }: { name?: string | undefined; page?: string | undefined }) {
  useShared();
  const [studies, setStudies] = useState<Listed[] | null>(null);
  const [trouble, setTrouble] = useState("");
  const [title, setTitle] = useState("first-look");
  const [kind, setKind] = useState("pairs");
  const load = () => get<Listed[]>("/studies").then(setStudies, (error) => setTrouble(error.message));
  useEffect(() => { load(); }, [name]);
  if (name && page === "report") return <Results name={name} />;
  if (name) return <Rate name={name} />;
  const groups = [...new Set(jobsOf("paint").filter((one) => one.group && one.state === "done").map((one) => one.group!))];
  return <><h1>Study</h1><p class="hint">Two pictures, one question, and nobody sees which method painted which.</p>
    {trouble && <Trouble words={trouble} />}
    {studies?.length === 0 && <Empty title="No study yet"><p>{groups.length ? "Make one of your comparisons below." : <>First <Link to="/compare">compare two methods</Link>, then let people judge what came out.</>}</p></Empty>}
    {studies && studies.length > 0 && <ul class="rows">{studies.map((one) => <li key={one.name}><span><strong>{one.name}</strong><br /><span class="hint">{one.kind}, {one.items} items, {one.raters} {one.raters === 1 ? "person" : "people"} so far</span></span>
      <span class="row"><button type="button" class="main" onClick={() => go(`/study/${one.name}`)}>Judge</button><button type="button" onClick={() => go(`/study/${one.name}/report`)}>Report</button></span></li>)}</ul>}
    {groups.length > 0 && <section class="panel narrow"><h2>A new study</h2>
      <Labelled label="Name" hint="Small letters, digits and hyphens.">{(id, hint) => <input id={id} aria-describedby={hint} type="text" pattern="[a-z0-9][a-z0-9-]*" value={title} onInput={(event) => setTitle(event.currentTarget.value)} />}</Labelled>
      <Segments label="Kind" value={kind} options={[["pairs", "Pairs"], ["ratings", "Ratings"]]} onChange={setKind} />
      <p class="hint">Of {groups.length} {groups.length === 1 ? "comparison" : "comparisons"} made here.</p>
      <div class="go"><Act kind="main" to={async () => { await post("/studies", { name: title, kind, groups }); await load(); }}>Make the study</Act></div></section>}</>;
}

function Rate({ name }: { name: string }) {
  const [rater, setRater] = useState("");
  const [study, setStudy] = useState<Shown | null>(null);
  const [place, setPlace] = useState(0);
  const [trouble, setTrouble] = useState("");
  const done = (item: Item) => Object.keys(study!.questions).every((q) => q in item.answers);
  const item = study?.items[place], pair = study?.kind === "pairs";
  const open = item && study ? Object.keys(study.questions).find((q) => !(q in item.answers)) ?? Object.keys(study.questions)[0]! : "";
  const give = async (question: string, value: string) => {
    try {
      await post(`/studies/${name}/answers`, { rater, item: item!.id, question, value });
      setStudy({ ...study!, items: study!.items.map((one) => one === item ? { ...one, answers: { ...one.answers, [question]: value } } : one) });
      setTrouble("");
    } catch (error) { setTrouble(`That answer was not kept. ${(error as Error).message}`); }
  };
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!study || !item || event.ctrlKey || event.metaKey || event.altKey || (event.target as HTMLElement).tagName === "INPUT") return;
      const column = Number(event.key) - (pair ? 1 : 0);
      if (event.key === "Enter" && done(item) && (event.target as HTMLElement).tagName !== "BUTTON") setPlace(place + 1);
      else if (event.key === "ArrowLeft" && place) setPlace(place - 1);
      else if (/^[0-9]$/.test(event.key) && study.choices[column]) give(open, study.choices[column]!);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
  if (!study) return <form class="panel narrow" onSubmit={async (event) => {
    event.preventDefault();
    if (!rater.trim()) return setTrouble("Please give a name.");
    try {
      const found = await get<Shown>(`/studies/${name}/items?rater=${encodeURIComponent(rater.trim())}`);
      setStudy(found);
      setPlace(Math.max(0, found.items.findIndex((one) => !Object.keys(found.questions).every((q) => q in one.answers))));
    } catch (error) { setTrouble((error as Error).message); }
  }}><h1>Which picture is it?</h1><p>You will see a reference of a person, words, and what was painted from both. There are no right answers; go by what you see.</p>
    <Labelled label="Your name, or any other">{(id) => <input id={id} type="text" maxLength={80} value={rater} onInput={(event) => setRater(event.currentTarget.value)} />}</Labelled>
    {trouble && <Trouble words={trouble} />}<div class="go"><button class="main">Begin</button></div></form>;
  const finished = study.items.filter(done).length, of = (file: string) => `/api/studies/${name}/pictures/${file.split("/").at(-1)}`;
  if (!item) return <Empty title="Thank you"><p>You have judged {finished} of {study.items.length}.</p><p class="row"><button type="button" onClick={() => setPlace(0)}>Look again</button><Link to={`/study/${name}/report`}>See the report</Link></p></Empty>;
  return <article class="rate"><header class="row apart"><span>{place + 1} of {study.items.length}</span><span>{rater}</span></header>
    <progress aria-label="Judged" max={study.items.length} value={finished} /><h1 class="prompt">{item.prompt || "no words"}</h1>
    <div class="compare-grid">{item.reference && <figure><img src={of(item.reference)} alt="Reference" /><figcaption>Reference</figcaption></figure>}
      {item.pictures.map((file, n) => <figure key={file}><img src={of(file)} alt={pair ? ["Left", "Right"][n] : "Painted"} /><figcaption>{pair ? ["Left", "Right"][n] : "Painted"}</figcaption></figure>)}</div>
    {Object.entries(study.questions).map(([question, text]) => <fieldset key={question}><legend>{text}</legend><div class="row wrap">{study.choices.map((value, column) =>
      <button type="button" key={value} aria-pressed={item.answers[question] === value} onClick={() => give(question, value)}>{value}{question === open && <kbd>{column + (pair ? 1 : 0)}</kbd>}</button>)}</div></fieldset>)}
    {trouble && <Trouble words={trouble} />}
    <nav class="row apart" aria-label="Items"><button type="button" disabled={!place} onClick={() => setPlace(place - 1)}>Back</button><button type="button" class="main" disabled={!done(item)} onClick={() => setPlace(place + 1)}>Next</button></nav></article>;
}

function Results({ name }: { name: string }) {
  const [report, setReport] = useState<Report | null>(null);
  const [trouble, setTrouble] = useState("");
  useEffect(() => { get<Report>(`/studies/${name}/report`).then(setReport, (error) => setTrouble(error.message)); }, [name]);
  return <article><p><Link to="/study">Studies</Link></p><h1>{name}</h1>{trouble && <Trouble words={trouble} />}
    {report && Object.entries(report.questions).map(([key, one]) => <section class="panel" key={key}><h2>{one.question ?? key}</h2>
      <table><thead><tr><th>Method</th><th>{report.kind === "pairs" ? "Preferred" : "Mean"}</th><th>95 % interval</th><th>Answers</th></tr></thead><tbody>
        {Object.entries(one.scores).map(([variant, score]) => <tr key={variant}><td>{variant}</td><td>{score.mean === null ? "no answers yet" : report.kind === "pairs" ? percent(score.mean) : score.mean.toFixed(2)}</td>
          <td>{score.mean === null ? "" : `${score.low.toFixed(2)} to ${score.high.toFixed(2)}`}</td><td>{score.n ?? 0}</td></tr>)}</tbody></table>
      <p class="hint">Agreement between people (Krippendorff's alpha): {one.alpha === null ? "not known with one person" : one.alpha.toFixed(2)}</p></section>)}</article>;
}
