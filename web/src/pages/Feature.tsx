// Feature: everything known of one. Where it fires comes first.
import { useEffect, useState } from "preact/hooks";
import { api, exportOf } from "../api/client";
import type { FeatureHead } from "../api/types";
import { Side } from "../parts/Side";
import { Elsewhere, Empty, Failed, Trust } from "../parts/Bits";
import { Contexts, InOtherText } from "../parts/Contexts";
import { Figures } from "../parts/Figures";
import { helpAt } from "../parts/Frame";
import { Histogram } from "../parts/Histogram";
import { Label } from "../parts/Text";
import { TryIt } from "../parts/TryIt";
import { Does, Writes } from "../parts/Writes";
import { Yours } from "../parts/Yours";
import { LostPage } from "./Lost";
import { random } from "../state/keys";
import { useLoaded } from "../state/load";
import { params } from "../state/router";
import { clean, place, rarity } from "../state/words";

export function FeaturePage({ name }: { name: string }) {
  const other = params.value.get("with");
  return other ? <Side name={name} other={other} /> : <One name={name} />;
}

function One({ name }: { name: string }) {
  const { value: head, error, status, again } = useLoaded(name, (signal) => api.feature(name, signal));
  const [marker, mark] = useState<number | null>(null);
  const [unveiled, unveil] = useState("");
  useEffect(() => mark(null), [name]);
  useEffect(() => {
    document.title = `${clean(head?.title) || name} · Hooke`;
    return () => { document.title = "Hooke"; };
  }, [head]);
  if (status === 404) return <LostPage why={error!} />;
  if (error) return <Failed error={error} again={again} />;
  if (!head) return <Empty>Opening {name}…</Empty>;
  const made = params.value.get("made");
  if (made && !head.digest.startsWith(made)) {
    return <Failed error={`This link was made for another atlas: it means a feature of ${head.sae} with other weights (${made}) than the one that is open (${head.digest.slice(0, 8)}).`} />;
  }
  const one = head.feature;
  const veiled = head.sensitive && unveiled !== name;
  return (
    <div class="feature" key={name}>
      <Head head={head} changed={again} />
      <div class="columns">
        <div><Contexts name={name} head={head} show={veiled ? () => unveil(name) : null} /></div>
        <aside aria-label="More about this feature">
          <TryIt name={name} most={one.max} onPeak={mark} />
          <Writes head={head} />
          <Yours head={head} changed={again} />
          {one.histogram && one.histogram.some((n) => n > 0) && <section><h2>How strongly it fires</h2><Histogram counts={one.histogram} most={one.max} marker={marker} /></section>}
        </aside>
        <div>
          {!veiled && <InOtherText name={name} most={one.max} />}
          <Related name={name} />
          <Figures head={head} />
          <p class="small"><a href={exportOf("feature", name, "html")} download>keep as a page</a></p>
          <Elsewhere command={`hooke feature ${name} --json`} json={() => head} />
        </div>
      </div>
    </div>
  );
}

function Head({ head, changed }: { head: FeatureHead; changed: () => void }) {
  const one = head.feature;
  const own = one.written?.label;
  const star = one.written?.star ?? false;
  const label = one.label;
  const read = one.named && (one.named.name === head.title || own) && one.named.name ? one.named : null;
  const note = clean(read?.note);
  return (
    <header class="heading">
      <p class="crumbs small">
        <a href="/features">Features</a> <span class="soft">/</span> <a href={`/features?sae=${encodeURIComponent(head.sae)}`}>{place(head.sae)}</a> <span class="soft">/</span> <span class="soft">{head.index}</span>
        <span class="steps">
          {head.index > 0 && <a href={`/f/${head.sae}/${head.index - 1}`} rel="prev" aria-label="The feature before">←</a>}
          {head.index + 1 < head.d_sae && <a href={`/f/${head.sae}/${head.index + 1}`} rel="next" aria-label="The next feature">→</a>}
          <button type="button" class="quiet" onClick={() => void random()}>a random one</button>
          <button type="button" class="quiet" onClick={() => document.getElementById("own-name")?.focus()}>name it, note it</button>
          <a href={`/steer?f=${head.name}`}>steer this</a>
        </span>
      </p>
      <h1>
        <button type="button" class="star" aria-pressed={star} aria-label="Star" title="Starred features stand under Lists" onClick={() => void api.write(head.name, { star: !star }).then(changed)}>{star ? "★" : "☆"}</button>
        <Label text={read?.name ?? label?.text} own={own} />
      </h1>
      {note && <p><bdi>{note}</bdi></p>}
      <p class="lede">It fires on {rarity(one.density)} that the model reads{said(head)}. <Does head={head} /></p>
      <table class="names small">
        <thead class="vh"><tr><th scope="col">named by</th><th scope="col">name</th><th scope="col">how well it holds</th></tr></thead>
        <tbody>
          {head.names.map((one) => <tr key={one.by}><th scope="row">{clean(one.by)}</th><td><bdi>{clean(one.name)}</bdi></td><td><Trust rating={one.rating} /></td></tr>)}
        </tbody>
      </table>
      <p class="small soft">How far each name holds, on text it was not made from, whatever the text. Of one text Hooke also weighs what else fires there: a name true of one text in four can be right 9 times in 10 where the rest of the text speaks for it. <button type="button" class="quiet" onClick={() => (helpAt.value = "ratings")}>What do the words mean?</button></p>
    </header>
  );
}

/** How far its name tells where it fires, and what to look at where it does not. */
function said({ names }: FeatureHead): string {
  const word = names[0]?.rating.word;
  if (word === "usually fits") return ", and its name usually tells where";
  if (word === "sometimes fits") return ", and its name sometimes tells where";
  return word === "seldom fits" ? "; its name seldom tells where, the examples below tell more" : names.length ? "" : "; nobody found a name for that, the examples below show it";
}

function Related({ name }: { name: string }) {
  const { value } = useLoaded(`near ${name}`, () => api.neighbours(name));
  if (!value) return null;
  const list = (title: string, said: string, near: number, rows: typeof value.alike) => rows.some((row) => row.value >= near) && (
    <section>
      <h2>{title}</h2>
      <p class="small soft">{said}</p>
      <ul class="related">{rows.filter((row) => row.value >= near).slice(0, 8).map((row) => <li key={row.name}><a href={`/f/${row.name}`}><Label text={row.label} /></a><span class="soft small">{row.value.toFixed(2)} <a class="beside" href={`/f/${name}?with=${row.name}`} aria-label={`compare with ${clean(row.label) || row.name}`}>compare</a></span></li>)}</ul>
    </section>
  );
  return <div class="halves">{list("Nearest in what it writes", "How much the same way they push the model (cosine): 1 the same, 0 nothing in common.", 0.4, value.alike)}{list("Fires most often beside it", "How often both fire on the same token where one of them does: 1 always, 0 never.", 0.1, value.together)}</div>;
}
