// What stands around every page: the way about, the state of the model, the keys.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { about, singleKeys, theme, trouble } from "../state/session";
import { path } from "../state/router";
import { Palette, paletteOpen } from "./Palette";

/** Which part of the help is open, by its heading; empty while it is closed. */
export const helpAt = signal<"" | "feature" | "ratings" | "keys">("");

// Pages of later versions have their place here; the server says which there are.
const NAV = [
  ["read", "/", "Read"], ["features", "/features", "Features"], ["search", "/search", "Search"], ["lists", "/lists", "Lists"],
  ["compare", "/compare", "Compare"], ["steer", "/steer", "Steer"], ["layers", "/layers", "Layers"],
  ["saes", "/saes", "SAEs"], ["runs", "/runs", "Runs"],
] as const;

/** The pages that this server has, each with its address and name. */
export function pagesHere(): readonly (readonly [string, string, string])[] {
  const pages: Record<string, boolean> = about.value?.pages ?? { read: true, features: true, search: true, lists: true, compare: true, saes: true, runs: true };
  return NAV.filter(([key]) => pages[key]);
}

export function Frame({ children }: { children: ComponentChildren }) {
  const here = path.value.startsWith("/f/") ? "/features" : path.value;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")!.focus(); }}>Skip to the page</a>
      <header class="top">
        <a class="brand" href="/" aria-label="Hooke, to the start">
          <svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="7" /><circle class="dot" cx="10" cy="10" r="2.2" /></svg>Hooke
        </a>
        <nav aria-label="Pages">
          {pagesHere().map(([key, to, name]) => (
            <a key={key} href={to} aria-current={to === here ? "page" : undefined}>{name}</a>
          ))}
        </nav>
        <div class="tools">
          <ModelState />
          <button type="button" class="quiet go" aria-label="Go to a page or feature" title="Ctrl K" onClick={() => (paletteOpen.value = true)}>⌕</button>
          <button type="button" class="quiet" onClick={() => (theme.value = { auto: "light", light: "dark" }[theme.value] ?? "auto")}
            aria-label={`Colours: ${theme.value}. Change`}>{{ light: "☀", dark: "☾" }[theme.value] ?? "◐"}</button>
          <button type="button" class="quiet" aria-label="Keys and help" onClick={() => (helpAt.value = "feature")}>?</button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {trouble.value ? <Locked why={trouble.value} /> : children}
      </main>
      <Help />
      <Palette />
    </>
  );
}

function ModelState() {
  const model = about.value?.model;
  if (!model) return null;
  const said = {
    ready: model.name, loading: `${model.detail}…`, failed: "model failed", none: "no model",
  }[model.state] ?? model.state;
  return <span class={`model ${model.state}`} role="status" title={model.state === "failed" ? model.detail : "Everything happens on this machine; no connection is opened."}>
    <span class="vh">Model: </span><bdi>{said}</bdi>{model.state === "ready" && <span class="wide"> is ready</span>}</span>;
}

function Locked({ why }: { why: string }) {
  return (
    <section class="narrow">
      <h1>This page is locked</h1>
      <p>{why}</p>
      <p class="soft">The key is in the address that the terminal printed, after <code>#k=</code>. Open that address once; afterwards this browser remembers it until the server ends.</p>
    </section>
  );
}

const KEYS = [
  ["Ctrl K", "go to a page, a feature by number or name, a search"],
  ["/", "search"], ["g then r f s l t y c e u", "Read, Features, Search, Lists, Steer, Layers, Compare, SAEs, Runs"], ["[ and ]", "the feature before, the next"], [".", "any feature"],
  ["← →", "walk the tokens of a text"], ["Enter", "hold a token or feature, let it go"], ["↑ ↓", "walk the rows of a list"],
  ["d", "on Layers: a second text to hold against the first"], ["t", "light, dark, as the system"], ["Esc", "stop reading; let go; close"], ["?", "this"],
] as const;

const WORDS = [
  ["token", "what a model reads at a time: a word, or a piece of one"],
  ["fires", "a feature fires on a token where it finds its pattern there; how strongly is its activation"],
  ["layer", "one of the steps in which the model turns what it read into what it says next: the first are near the letters, the last near the answer"],
  ["SAE", "sparse autoencoder: what the features of one layer come from. “resid_post.12” is the place it reads: what layer 12 hands on"],
  ["explains", "how much of what the model computes there the features that fire make up again (their share of its variance)"],
  ["nats", "how far the chances of what comes next move: 0.1 a little, 0.5 clearly, 2 as far as text holds"],
  ["logit lens", "reading a layer, or a feature's direction, as if the model spoke straight from it"],
  ["overlap, cosine", "how alike two features are: 1 the same, 0 nothing in common"],
  ["atlas", "the file that says of every feature where it fires and what it does"],
] as const;

/** What ratings look like, by what the server says of each kind. */
const TRUST = [["here", "right 8 in 10, unsure"], ["tried", "true of 8 of 12"], ["fits", "usually, sometimes, seldom fits"], ["rule", "its rule"]] as const;

function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (!helpAt.value) return dialog.current?.close();
    dialog.current?.showModal();
    document.getElementById(`help-${helpAt.value}`)?.focus(); // or the first control would have it, far below
  }, [helpAt.value]);
  return (
    <dialog ref={dialog} aria-labelledby="help-feature" onClose={() => (helpAt.value = "")}>
      <h2 id="help-feature" tabIndex={-1}>What a feature is</h2>
      <p>While a language model reads, each token becomes a few hundred numbers. A sparse autoencoder (SAE) takes them apart into <em>features</em>: patterns of
        which only a few fire at a time. A feature's name here is a guess, by a reader or by a rule, and how well it was seen to fit stands beside it: on text that it was not made
        from. It describes text as this model reads it, not people, and not causes.</p>
      <h2 id="help-ratings" tabIndex={-1}>How far a name holds</h2>
      <dl class="keys">{TRUST.map(([kind, looks]) => <div key={kind}><dt>{looks}</dt><dd>{about.value?.ratings[kind]}</dd></div>)}</dl>
      <h2>Words of the trade</h2>
      <dl class="keys">{WORDS.map(([word, what]) => <div key={word}><dt>{word}</dt><dd>{what}</dd></div>)}</dl>
      <h2 id="help-keys" tabIndex={-1}>Keys</h2>
      <dl class="keys">{KEYS.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
      <label class="check"><input type="checkbox" checked={singleKeys.value} onChange={(event) => (singleKeys.value = event.currentTarget.checked)} /> single keys do this</label>
      <button type="button" onClick={() => (helpAt.value = "")}>Close</button>
    </dialog>
  );
}
