// An address at which nothing is: what was asked, what there is, and a box to look for what was meant.
import { useState } from "preact/hooks";
import { pagesHere } from "../parts/Frame";
import { go, path } from "../state/router";
import { useLoaded } from "../state/load";
import { findFeatures } from "../state/find";
import { about } from "../state/session";
import { clean, layerOf, number } from "../state/words";
import { Label } from "../parts/Text";

/** `why` says what is wrong with an address that a page has, of a feature for example. */
export function LostPage({ why }: { why?: string }) {
  const asked = clean(path.value);
  const [words, set] = useState(meant(path.value));
  const { value: found } = useLoaded(words, (signal) => (words.trim() ? findFeatures(words, signal) : Promise.resolve([])), 150);
  return (
    <section class="narrow lost">
      <h1>Nothing is at this address</h1>
      <p><code>{asked}</code></p>
      <p>{why ?? "No page of Hooke is called that."} A feature is at <code>/f/SAE/INDEX</code>, for example <code>{example()}</code>.</p>
      <form role="search" onSubmit={(event) => { event.preventDefault(); go(`/search?q=${encodeURIComponent(words)}`); }}>
        <label class="small soft" for="meant">Find what you meant: words, or a feature's layer and number</label>
        <input id="meant" type="search" dir="auto" autocomplete="off" spellcheck={false} value={words} placeholder="12/6213, or weather" onInput={(event) => set(event.currentTarget.value)} />
      </form>
      {!!found?.length && <ul class="related">{found.slice(0, 6).map((one) => <li key={one.name}><a href={`/f/${one.name}`}><Label text={one.title ?? one.name} /></a><span class="soft small">layer {layerOf(one.name)}</span></li>)}</ul>}
      <h2>What there is</h2>
      <ul class="chips">{pagesHere().map(([key, to, name]) => <li key={key}><a class="chip" href={to}>{name}</a></li>)}</ul>
      <p class="soft small">{number(about.value!.features)} features are open here.</p>
    </section>
  );
}

/** The words in an address; of a feature, by layer and number where these stand there. */
function meant(address: string): string {
  const short = /^\/f\/(\d+)\/(\d+)\/?$/.exec(address);
  if (short) return `${short[1]}/${short[2]}`;
  if (/\/\d+\/?$/.test(address)) return "";
  return address.replace(/^\/(f\/)?/, "").replace(/[-_/]+/g, " ").trim().slice(0, 80);
}

function example(): string {
  const sae = about.value!.model.default[0] ?? about.value!.model.saes[0];
  return sae ? `/f/${sae}/17` : "/f/gemma-3-270m/resid_post.12/8k/54";
}
