// One text that was read: its tokens, tinted, and the features that stand out. Each points at the other.
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { Hit, ReadText } from "../api/types";
import { clean, layerOf, number, percent, spelt, step } from "../state/words";
import { Bar, Trust } from "./Bits";
import { helpOpen } from "./Frame";
import { Label, Legend, Shown } from "./Text";

const FEW = 6;
/** Below this share of what stands out most, a token is not tinted. */
const FAINT = 0.2;

/** What is pointed at or held: a feature by its address, or a token by its place. */
type Chosen = { feature: string } | { token: number } | null;

export function Reading({ found, several }: { found: ReadText; several: boolean }) {
  const held = useSignal<Chosen>(null);
  const pointed = useSignal<Chosen>(null);
  const all = useSignal(false);
  const hits = useMemo(() => [...new Map([...found.about, ...found.words, ...found.features].map((hit) => [hit.feature, hit])).values()], [found]);
  const chosen = pointed.value ?? held.value;
  const feature = chosen && "feature" in chosen ? hits.find((hit) => hit.feature === chosen.feature) : undefined;
  const token = chosen && "token" in chosen ? chosen.token : null;
  const hold = (next: Chosen) => {
    held.value = JSON.stringify(held.value) === JSON.stringify(next) ? null : next;
    pointed.value = null;
  };
  const onToken = held.value && "token" in held.value ? held.value.token : null;
  const at = onToken === null ? null : hits.filter((hit) => (hit.activations[onToken] ?? 0) > 0).sort((a, b) => share(b, onToken) - share(a, onToken));
  const few = all.value ? 100 : several ? 2 : FEW;
  const lists: [string, Hit[]][] = at ? [["On this token", at]] : found.about.length + found.words.length
    ? [["What it is about", found.about.slice(0, few)], ["Its words and forms", found.words.slice(0, few)]] : [["What stood out", found.features.slice(0, 2 * few)]];
  const more = hits.length - lists.reduce((sum, [, own]) => sum + own.length, 0);
  return (
    <article class={`reading${several ? " card" : ""}`} onKeyDown={(event) => event.key === "Escape" && (held.value = null)}>
      {several && found.topic && <p class="small soft topic">{found.topic}</p>}
      <Tokens found={found} hits={hits} feature={feature} token={token} held={held.value} onPoint={(next) => (pointed.value = next)} onHold={hold} />
      {found.truncated > 0 && <p class="small soft">The last {number(found.truncated)} tokens were not read: the text is longer than one reading.</p>}
      {!several && (feature ? <Legend of="the strongest ever seen" /> : <p class="legend small soft">The stronger the tint, the more stood out. Point at a feature or a word to see which goes with which; click to hold it.</p>)}
      {!several && <p class="small"><button type="button" class="quiet" onClick={() => (helpOpen.value = true)}>What do reliable, fair, rule mean?</button></p>}
      {held.value && "token" in held.value && (
        <p class="held small" role="status">Held: “{spelt(found.tokens[held.value.token])}”. {at?.length ? "These fire on it, strongest first." : "None of these features fires on it."} <button type="button" class="quiet" onClick={() => (held.value = null)}>let go</button></p>
      )}
      {lists.map(([title, own]) => own.length > 0 && (
        <section key={title} class="found">
          <div class="hit head"><h2>{title}</h2><span class="small soft">of its strongest</span><span class="small soft at">most on</span></div>
          <ul>
            {own.map((hit) => (
              <Row key={hit.feature} hit={hit} tokens={found.tokens} lit={token !== null && (hit.activations[token] ?? 0) > 0} dim={token !== null && !(hit.activations[token]! > 0)}
                held={!!held.value && "feature" in held.value && held.value.feature === hit.feature} several={new Set(hits.map((one) => one.sae)).size > 1}
                onPoint={(on) => (pointed.value = on ? { feature: hit.feature } : null)} onHold={() => hold({ feature: hit.feature })} />
            ))}
          </ul>
        </section>
      ))}
      {!at && (more > 0 || all.value) && (
        <button type="button" class="quiet small" onClick={() => (all.value = !all.value)}>{all.value ? "show fewer" : `show all ${hits.length}`}</button>
      )}
    </article>
  );
}

/** Strength on a token, as a share of the strongest ever seen. */
function share(hit: Hit, token: number): number {
  const value = hit.activations[token] ?? 0;
  return hit.relative > 0 && hit.activation > 0 ? (value * hit.relative) / hit.activation : value > 0 ? 1 : 0;
}

function Tokens({ found, hits, feature, token, held, onPoint, onHold }: {
  found: ReadText; hits: Hit[]; feature: Hit | undefined; token: number | null; held: Chosen; onPoint: (next: Chosen) => void; onHold: (next: Chosen) => void;
}) {
  const box = useRef<HTMLParagraphElement>(null);
  const stop = useSignal(0);
  // How much stood out at each token: as results are ranked, by strength and by how unusual that strength is.
  const stoodOut = useMemo(() => {
    const most = new Array<number>(found.tokens.length).fill(0);
    for (const hit of hits) {
      const standing = Math.max(0, hit.specificity - 2) * Math.sqrt(Math.max(0, hit.relative));
      for (const [at, value] of Object.entries(hit.activations)) most[Number(at)] = Math.max(most[Number(at)] ?? 0, (standing * value) / hit.activation);
    }
    const top = Math.max(...most, 1e-9);
    return most.map((value) => (value < FAINT * top ? 0 : (value / top) ** 2));
  }, [hits]);
  const walk = (event: KeyboardEvent) => {
    const last = found.tokens.length - 1;
    const next = { ArrowRight: stop.value + 1, ArrowLeft: stop.value - 1, Home: 0, End: last }[event.key];
    if (event.key === "Enter" || event.key === " ") onHold({ token: stop.value });
    else if (next === undefined) return;
    else {
      stop.value = Math.max(0, Math.min(last, next));
      (box.current?.children[stop.value] as HTMLElement | undefined)?.focus();
    }
    event.preventDefault();
  };
  return (
    <p class="passage tokens" dir="auto" ref={box} role="group" aria-label="The text, token by token; arrow keys walk, Enter holds" onKeyDown={walk} onMouseLeave={() => onPoint(null)}>
      {found.tokens.map((piece, i) => {
        const bare = piece.trimStart();
        const value = feature ? share(feature, i) : stoodOut[i]!;
        const strength = feature ? (feature.activations[i] ?? 0) : 0;
        const kind = [`s${step(value, 1)}`, feature?.pos === i ? "peak" : "", token === i ? "on" : ""].join(" ");
        const pressed = !!held && "token" in held && held.token === i;
        const said = feature ? `${number(strength)}, ${percent(value)} of its strongest` : "point or hold to see what fires here";
        return (
          <span key={i} role="button" tabIndex={i === Math.min(stop.value, found.tokens.length - 1) ? 0 : -1} aria-pressed={pressed} class="token" title={said}
            onMouseEnter={() => onPoint({ token: i })} onFocus={() => { stop.value = i; onPoint({ token: i }); }} onBlur={() => onPoint(null)}
            onClick={() => onHold({ token: i })}>
            {piece.slice(0, piece.length - bare.length).replace(/[\n\r\t]+/g, " ")}<span class={kind}>{bare ? <Shown text={bare} /> : <span class="soft">{piece.includes("\n") ? "↵" : "·"}</span>}</span>{piece.includes("\n") && <br />}
          </span>
        );
      })}
    </p>
  );
}

function Row({ hit, tokens, lit, dim, held, several, onPoint, onHold }: {
  hit: Hit; tokens: string[]; lit: boolean; dim: boolean; held: boolean; several: boolean; onPoint: (on: boolean) => void; onHold: () => void;
}) {
  return (
    <li class={`hit${lit ? " lit" : ""}${dim ? " dim" : ""}${held ? " held" : ""}`} onMouseEnter={() => onPoint(true)} onMouseLeave={() => onPoint(false)}
      onFocusIn={() => onPoint(true)} onFocusOut={() => onPoint(false)}>
      <button type="button" class="pin" aria-pressed={held} aria-label={`Hold: tint the text by ${clean(hit.own_label ?? hit.name ?? hit.label)}`} onClick={onHold} />
      <div class="name">
        <a href={`/f/${hit.feature}`}><Label text={hit.name ?? hit.label} own={hit.own_label} /></a>
        <Trust rating={hit.rating} />
        {several && <span class="soft small">layer {layerOf(hit.sae)}</span>}
      </div>
      <span class="strength"><Bar share={hit.relative} label={`${percent(hit.relative)} of the strongest ever seen`} /><span class="small soft">{percent(hit.relative)}</span></span>
      <bdi class="at">{spelt(tokens[hit.pos])}</bdi>
    </li>
  );
}
