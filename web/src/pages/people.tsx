// People: whose pictures are here, who agreed to what, and being forgotten.

import { useState } from "preact/hooks";
import { pictureOf, remove, type Person } from "../api";
import { Consent } from "../references";
import { shared, useShared } from "../state";
import { Act, Empty, judgement, Link, Verdict } from "../ui";

export function People() {
  const { people } = useShared();
  if (!people) return <div aria-busy="true" />;
  return <><h1>People</h1><p class="hint">Pictures stay on this machine, without the metadata of the photos. Forgetting a person deletes their pictures, every embedding, and everything painted of them.</p>
    {people.length === 0 ? <Empty title="Nobody is here yet"><p>Add a photo on the page <Link to="/">Make</Link>, or turn the sliders of a <Link to="/sitters">sitter</Link>.</p></Empty>
      : people.map((one) => <Somebody key={one.id} person={one} />)}</>;
}

function Somebody({ person }: { person: Person }) {
  const [sure, setSure] = useState(false);
  return <article class="panel person"><header class="row apart"><div><h2>{person.name}</h2><p class="hint">{person.kind === "sitter" ? "A sitter, who does not exist" : person.consent
    ? `Agreed, says ${person.consent.given_by}, ${new Date(person.consent.at * 1000).toLocaleDateString()}` : "Has not agreed yet"}</p></div>
    {sure ? <div class="row"><Act kind="danger" to={async () => { await remove(`/people/${person.id}`); await shared.refreshPeople(); }}>Yes, forget everything</Act><button type="button" onClick={() => setSure(false)}>Keep</button></div>
      : <button type="button" onClick={() => setSure(true)}>Forget</button>}</header>
    <ul class="cards">{person.pictures.map((one) => <li key={one.id}><img src={pictureOf(one.id)} alt={one.label || "reference"} loading="lazy" class={judgement(one)} /><Verdict picture={one} />
      <Act kind="quiet small" to={async () => { await remove(`/pictures/${one.id}`); await shared.refreshPeople(); }}>Remove</Act></li>)}</ul>
    {person.kind === "real" && !person.consent && <Consent person={person} />}</article>;
}
