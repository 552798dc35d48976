// What you write about a feature: a name of your own, a note, lists. It is kept in a file of yours, apart from every atlas.
import { useEffect, useState } from "preact/hooks";
import { api, type Problem } from "../api/client";
import type { FeatureHead } from "../api/types";
import { clean } from "../state/words";

const CHANGED = 412;

export function Yours({ head, changed }: { head: FeatureHead; changed: () => void }) {
  const written = head.feature.written ?? { label: "", note: "", star: false };
  const [label, setLabel] = useState(written.label ?? "");
  const [note, setNote] = useState(written.note ?? "");
  const [list, setList] = useState("");
  const [said, say] = useState("");
  // What another tab wrote comes in, what is being typed here stays.
  const [was, setWas] = useState(written);
  useEffect(() => {
    if (label === (was.label ?? "")) setLabel(written.label ?? "");
    if (note === (was.note ?? "")) setNote(written.note ?? "");
    setWas(written);
  }, [head]);
  const keep = (done: Promise<unknown>) => void done.then(() => { say("kept"); changed(); }, (error: Problem) => {
    say(error.message);
    if (error.status === CHANGED) changed();
  });
  const dirty = label !== (written.label ?? "") || note !== (written.note ?? "");
  return (
    <section class="yours">
      <h2>Yours</h2>
      <form onSubmit={(event) => { event.preventDefault(); keep(api.write(head.name, { label, note }, head.etag)); }}>
        <label>Your name for it<input id="own-name" type="text" maxLength={200} dir="auto" value={label} onInput={(event) => { setLabel(event.currentTarget.value); say(""); }} /></label>
        <label>A note<textarea rows={2} maxLength={20000} dir="auto" value={note} onInput={(event) => { setNote(event.currentTarget.value); say(""); }} /></label>
        <button type="submit" disabled={!dirty}>keep</button> <span role="status" class="small soft">{said}</span>
      </form>
      <form class="lists" onSubmit={(event) => { event.preventDefault(); if (list.trim()) { keep(api.enlist(list.trim(), head.name, false)); setList(""); } }}>
        {head.lists.map((name) => (
          <span key={name} class="chip"><a href={`/features?which=${encodeURIComponent(`list:${name}`)}`}><bdi>{clean(name)}</bdi></a>
            <button type="button" class="quiet" aria-label={`Take it out of ${clean(name)}`} onClick={() => keep(api.enlist(name, head.name, true))}>×</button></span>
        ))}
        <label class="add">Put it into a list<input type="text" maxLength={80} placeholder="name of a list, old or new" value={list} onInput={(event) => setList(event.currentTarget.value)} /></label>
        <button type="submit" disabled={!list.trim()}>add</button>
      </form>
    </section>
  );
}
