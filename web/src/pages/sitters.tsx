// Sitters: a synthetic person by sliders, with everything that is known of the picture.

import { useEffect, useRef, useState } from "preact/hooks";
import { blob, get, post, type Person } from "../api";
import { draft, go, shared } from "../state";
import { Act, Labelled, Segments, Trouble } from "../ui";

interface Row { name: string; value: number | string | boolean; low?: number; high?: number; choices?: (string | boolean)[] }
interface Sliders { seed: number; picture: number; factors: Record<string, Row[]>; caption: string }
type Changes = Record<string, Record<string, number | string | boolean>>;
const LAYERS: [string, string][] = [["picture", "Picture"], ["labels", "Parts"], ["depth", "Depth"], ["normals", "Normals"], ["landmarks", "Landmarks"]];
const title = (name: string) => { const text = name.replaceAll("_", " ").replace(" deg", ""); return text[0]!.toUpperCase() + text.slice(1); };

export function Sitters() {
  const [seed, setSeed] = useState(10_000_004);
  const [picture, setPicture] = useState(0);
  const [sliders, setSliders] = useState<Sliders | null>(null);
  const [changes, setChanges] = useState<Changes>({});
  const [layer, setLayer] = useState("picture");
  const [shown, setShown] = useState("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const wanted = useRef("");

  useEffect(() => { get<Sliders>(`/sitters/${seed}?picture=${picture}`).then((found) => { setSliders(found); setTrouble(""); }, (error) => setTrouble(error.message)); }, [seed, picture]);
  useEffect(() => {
    const request = { seed, picture, changes, size_px: 384, layer }, mine = JSON.stringify(request);
    wanted.current = mine;
    const wait = setTimeout(async () => {
      setBusy(true);
      try {
        const address = URL.createObjectURL(await blob("/sitters/picture", request));
        if (wanted.current === mine) setShown((before) => { if (before) URL.revokeObjectURL(before); return address; }); else URL.revokeObjectURL(address);
        setTrouble("");
      } catch (error) { if (wanted.current === mine) setTrouble((error as Error).message); }
      if (wanted.current === mine) setBusy(false);
    }, 120);
    return () => clearTimeout(wait);
  }, [seed, picture, changes, layer]);

  const set = (factor: string, name: string, value: number | string | boolean) => setChanges({ ...changes, [factor]: { ...changes[factor], [name]: value } });
  const another = (next: number) => { setChanges({}); setPicture(0); setSeed(next); };
  const use = async () => {
    const made = await post<Person>("/sitters/reference", { seed, picture, changes });
    await shared.refreshPeople();
    draft.value = { task: "generate", person: made.id, references: made.pictures.map((one) => one.id) };
    go("/");
  };
  return <><h1>Sitters</h1><p class="hint">People who do not exist. Everything about them is known, so nobody has to be asked.</p>
    <div class="two sitter"><div class="sticky"><div class={`stage-picture ${busy ? "busy" : ""}`} aria-busy={busy}>{shown ? <img src={shown} alt={layer === "picture" ? sliders?.caption ?? "A sitter" : `Ground truth: ${layer}`} /> : <span>painting</span>}</div>
      <Segments label="Layer" value={layer} options={LAYERS} onChange={setLayer} />
      <p>{sliders && !Object.keys(changes).length ? sliders.caption : ""}</p>{trouble && <Trouble words={trouble} />}
      <div class="row wrap"><Act kind="main" to={use}>Use as a reference</Act><button type="button" onClick={() => another(10_000_000 + Math.floor(Math.random() * 10_000))}>Somebody else</button>
        <button type="button" onClick={() => { setChanges({}); setPicture(picture + 1); }}>Another picture</button><button type="button" disabled={!Object.keys(changes).length} onClick={() => setChanges({})}>As they were</button></div>
      <Labelled label="Seed">{(id) => <input id={id} type="number" min="0" value={seed} onChange={(event) => another(Math.max(0, Math.floor(Number(event.currentTarget.value)) || 0))} />}</Labelled></div>
      <div>{sliders && Object.entries(sliders.factors).map(([factor, rows], index) => <details key={factor} open={index === 0}><summary>{title(factor)}</summary>{rows.map((row) => {
        const value = changes[factor]?.[row.name] ?? row.value;
        return <Labelled key={row.name} label={title(row.name)}>{(id) => row.choices ? <select id={id} value={String(value)} onChange={(event) => set(factor, row.name, row.choices!.find((one) => String(one) === event.currentTarget.value)!)}>
          {row.choices.map((one) => <option key={String(one)} value={String(one)}>{one === true ? "yes" : one === false ? "no" : one}</option>)}</select>
          : <div class="ranged"><input id={id} type="range" min={row.low} max={row.high} step={(row.high! - row.low!) / 100} value={Number(value)} onInput={(event) => set(factor, row.name, Number(event.currentTarget.value))} /><output for={id}>{Number(value).toFixed(Math.abs(row.high!) > 10 ? 0 : 2)}</output></div>}</Labelled>;
      })}</details>)}</div></div></>;
}
