// A method's own options as a form, from their JSON schema: what a new method declares is here without a line.

import type { Field, Schema } from "./api";
import { Labelled } from "./ui";

type Values = Record<string, unknown>;

const resolved = (field: Field, schema: Schema): Field => {
  const known = field.$ref ? { ...schema.$defs?.[field.$ref.split("/").pop()!], default: field.default } : field;
  const real = known.anyOf?.filter((one) => one.type !== "null");
  return real?.length === 1 ? { ...known, ...real[0], anyOf: undefined, default: known.default } : known;
};
const words = (name: string) => { const text = name.replaceAll("_", " "); return text[0]!.toUpperCase() + text.slice(1); };

export function Options({ schema, values, onChange, leave = [] }:
  { schema: Schema; values: Values; onChange: (values: Values) => void; leave?: string[] }) {
  const set = (name: string, value: unknown) => {
    const next = { ...values };
    if (value === undefined) delete next[name]; else next[name] = value;
    onChange(next);
  };
  const names = Object.keys(schema.properties ?? {}).filter((name) => !leave.includes(name));
  if (!names.length) return <p class="hint">This method has no options of its own.</p>;
  return <>{names.map((name) => <Option key={name} name={name} field={resolved(schema.properties![name]!, schema)}
    value={values[name]} set={(value) => set(name, value)} />)}</>;
}

function Option({ name, field, value, set }: { name: string; field: Field; value: unknown; set: (value: unknown) => void }) {
  const shown = value === undefined ? field.default : value;
  const about = field.description?.replace(/\s+/g, " ");
  if (field.type === "boolean") return <div class="field"><label class="check"><input type="checkbox" checked={Boolean(shown)}
    onChange={(event) => set(event.currentTarget.checked)} /> {words(name)}</label>{about && <p class="hint">{about}</p>}</div>;
  return <Labelled label={words(name)} hint={about}>{(id, hint) => {
    if (field.enum) return <select id={id} aria-describedby={hint} value={String(shown)} onChange={(event) => set(field.enum!.find((one) => String(one) === event.currentTarget.value))}>
      {field.enum.map((one) => <option key={String(one)} value={String(one)}>{String(one)}</option>)}</select>;
    const number = field.type === "number" || field.type === "integer";
    if (number && field.minimum !== undefined && field.maximum !== undefined) {
      const step = field.type === "integer" ? 1 : (field.maximum - field.minimum) / 100;
      return <div class="ranged"><input id={id} aria-describedby={hint} type="range" min={field.minimum} max={field.maximum} step={step}
        value={Number(shown ?? (field.minimum + field.maximum) / 2)} onInput={(event) => set(Number(event.currentTarget.value))} />
        <output for={id}>{shown === null || shown === undefined ? "own" : Number(Number(shown).toFixed(2))}</output>
        {value !== undefined && <button type="button" class="quiet small" aria-label={`${words(name)} as before`} onClick={() => set(undefined)}>Reset</button>}</div>;
    }
    if (number) return <input id={id} aria-describedby={hint} type="number" min={field.minimum} max={field.maximum} step={field.type === "integer" ? 1 : "any"}
      value={shown === null || shown === undefined ? "" : Number(shown)} onInput={(event) => set(event.currentTarget.value === "" ? undefined : Number(event.currentTarget.value))} />;
    if (field.type === "string") return <input id={id} aria-describedby={hint} type="text" value={String(shown ?? "")} onInput={(event) => set(event.currentTarget.value || undefined)} />;
    // Lists and the like: one value a line, numbers where they are numbers.
    const texts = field.items?.type === "string";
    const list = Array.isArray(shown) ? shown : [];
    return <textarea id={id} aria-describedby={hint} rows={3} placeholder="One a line" value={list.join("\n")} onInput={(event) => {
      const lines = event.currentTarget.value.split("\n").map((line) => line.trim()).filter(Boolean);
      set(lines.length ? (texts ? lines : lines.map(Number)) : undefined);
    }} />;
  }}</Labelled>;
}
