// One text that was read: its tokens, tinted, and the features that stand out. Each points at the other.
import { useSignal } from "@preact/signals";
import type { VNode } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { Hit, ReadText } from "../api/types";
import { maxDensity } from "../state/reading";
import { clean, layerOf, number, parted, percent, spelt, step } from "../state/words";
import { Bar, Trust } from "./Bits";
import { helpAt } from "./Frame";
import { Pick, picked } from "./Gather";
import { Label, Legend, Shown } from "./Text";

const FEW = 6;
/** Features beside one word, before all are asked for. */
const BESIDE = 3;

/** What is pointed at or held: a feature by its address, or a token by its place. */
type Chosen = { feature: string } | { token: number } | null;

export function Reading({ found, several }: { found: ReadText; several: boolean }) {
  const held = useSignal<Chosen>(null);
  const pointed = useSignal<Chosen>(null);
  const all = useSignal(false);
  const most = maxDensity.value;
  const groups = useMemo(() => {
    const rare = (hit: Hit) => most === null || (hit.density ?? 0) <= most;
    return { about: found.about.filter(rare), words: found.words.filter(rare), all: found.features.filter(rare) };
  }, [found, most]);
  const hits = useMemo(() => [...new Map(Object.values(groups).flat().map((hit) => [hit.feature, hit])).values()], [groups]);
  const chosen = pointed.value ?? held.value;
  const token = chosen && "token" in chosen ? chosen.token : null;
  const hold = (next: Chosen) => {
    held.value = JSON.stringify(held.value) === JSON.stringify(next) ? null : next;
    pointed.value = null;
  };
  const onToken = held.value && "token" in held.value ? held.value.token : null;
  const at = onToken === null ? null : hits.filter((hit) => (hit.activations[onToken] ?? 0) > 0).sort((a, b) => share(b, onToken) - share(a, onToken));
  const few = several ? 2 : FEW;
  const whole = all.value || !!at;
  const lists: [string, Hit[]][] = at ? [["On this token", at]] : groups.about.length + groups.words.length
    ? [["What it is about", groups.about.slice(0, whole ? 100 : few)], ["Its words and forms", groups.words]] : [["What stood out", groups.all.slice(0, whole ? 100 : 2 * few)]];
  // One feature tints the text, the first unless another is pointed at or held, and the word is underlined that its row names.
  const feature = (chosen && "feature" in chosen && hits.find((hit) => hit.feature === chosen.feature)) || lists.flatMap(([, own]) => own)[0];
  const point = (hit: Hit) => (on: boolean) => (pointed.value = on ? { feature: hit.feature } : null);
  return (
    <article class={`reading${several ? " card" : ""}${whole ? " whole" : ""}`} onKeyDown={(event) => event.key === "Escape" && (held.value = null)}>
      {several && found.topic && <p class="small soft topic">{found.topic} {percent(found.topics.find((one) => one.topic === found.topic)?.score)}</p>}
      <Tokens found={found} feature={feature} token={token} held={held.value} onPoint={(next) => (pointed.value = next)} onHold={hold} />
      {found.truncated > 0 && <p class="small soft">The last {number(found.truncated)} tokens were not read: the text is longer than one reading.</p>}
      {!several && feature && <Legend of="its strongest">where <b><Label text={feature.name ?? feature.label} own={feature.own_label} /></b> fires</Legend>}
      {!several && <p class="small soft">Point at another feature to see its words, at a word to see its features; click to hold either. The names likeliest to be right stand first. <button type="button" class="quiet" onClick={() => (helpAt.value = "ratings")}>What do these ratings mean?</button></p>}
      {held.value && "token" in held.value && (
        <p class="held small" role="status">Held: “{spelt(found.tokens[held.value.token])}”. {at?.length ? "These fire on it, strongest first." : "None of these features fires on it."} <button type="button" class="quiet" onClick={() => (held.value = null)}>let go</button></p>
      )}
      {lists.map(([title, own]) => own.length > 0 && (
        <section key={title} class="found">
          {own === groups.words && !whole ? <><h2>{title}</h2><Words hits={own} tokens={found.tokens} most={few} tinting={feature} onPoint={point} /></> : (
            <>
              <div class="hit head"><h2>{title}</h2><span class="small soft" title="as a share of the strongest it was ever seen">strength</span><span class="small soft at">rises on</span></div>
              <ul>
                {own.map((hit) => (
                  <Row key={hit.feature} hit={hit} tokens={found.tokens} tints={hit === feature} lit={token !== null && (hit.activations[token] ?? 0) > 0} dim={token !== null && !(hit.activations[token]! > 0)}
                    held={!!held.value && "feature" in held.value && held.value.feature === hit.feature} several={new Set(hits.map((one) => one.sae)).size > 1}
                    onPoint={point(hit)} onHold={() => hold({ feature: hit.feature })} />
                ))}
              </ul>
            </>
          )}
        </section>
      ))}
      {!hits.length && <p class="soft">{most === null ? "No feature stands out." : "Only features that fire more often than that stand out here."}</p>}
      {!at && hits.length > 0 && <button type="button" class="quiet small" onClick={() => (all.value = !all.value)}>{all.value ? "show less" : `show all ${lists.flatMap(([, own]) => own).length + groups.about.slice(few).length}, with figures`}</button>}
    </article>
  );
}

/** The words of a text with what fires on each; whatever a feature is named after, it stands beside the word that it fired on here. */
function Words({ hits, tokens, most, tinting, onPoint }: {
  hits: Hit[]; tokens: string[]; most: number; tinting: Hit | undefined; onPoint: (hit: Hit) => (on: boolean) => void;
}) {
  const byWord = new Map<string, Hit[]>();
  for (const hit of hits.filter((one) => one.behind || one.own_label)) byWord.set(hit.word_at.join(), [...(byWord.get(hit.word_at.join()) ?? []), hit]);
  const first = [...byWord.values()].slice(0, most).sort((a, b) => a[0]!.pos - b[0]!.pos);
  return (
    <dl class="on-words">
      {first.map((own) => (
        <div key={own[0]!.feature}>
          <dt>{wordOf(own[0]!, tokens)}</dt>
          <dd>{own.slice(0, BESIDE).map((hit) => (
            <span key={hit.feature} class={hit === tinting ? "tints" : ""} onMouseEnter={() => onPoint(hit)(true)} onMouseLeave={() => onPoint(hit)(false)} onFocusIn={() => onPoint(hit)(true)} onFocusOut={() => onPoint(hit)(false)}>
              {picked.value && <Pick name={hit.feature} title={hit.own_label ?? hit.name ?? hit.label} />} <a href={`/f/${hit.feature}`}><Label text={hit.behind ?? hit.name} own={hit.own_label} /></a> <Trust rating={hit.rating} brief />
            </span>
          ))}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The word at which a feature rises most, as it stands in the text. */
function wordOf(hit: Hit, tokens: string[]): VNode {
  return <bdi>{spelt(hit.word_at.map((at) => tokens[at]).join(""))}</bdi>;
}

/** Strength on a token, as a share of the strongest ever seen. */
function share(hit: Hit, token: number): number {
  const value = hit.activations[token] ?? 0;
  return hit.relative > 0 && hit.activation > 0 ? (value * hit.relative) / hit.activation : value > 0 ? 1 : 0;
}

function Tokens({ found, feature, token, held, onPoint, onHold }: {
  found: ReadText; feature: Hit | undefined; token: number | null; held: Chosen; onPoint: (next: Chosen) => void; onHold: (next: Chosen) => void;
}) {
  const box = useRef<HTMLParagraphElement>(null);
  const stop = useSignal(0);
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
        const [spaces, bare] = parted(piece);
        const value = feature ? share(feature, i) : 0;
        const strength = feature ? (feature.activations[i] ?? 0) : 0;
        const kind = [`s${feature?.faint.includes(i) ? Math.min(1, step(value, 1)) : step(value, 1)}`, feature?.word_at.includes(i) ? "peak" : "", token === i ? "on" : ""].join(" ");
        const pressed = !!held && "token" in held && held.token === i;
        const said = `${number(strength)}, ${percent(value)} of its strongest`;
        return (
          <span key={i} role="button" tabIndex={i === Math.min(stop.value, found.tokens.length - 1) ? 0 : -1} aria-pressed={pressed} class="token" title={said}
            onMouseEnter={() => onPoint({ token: i })} onFocus={() => { stop.value = i; onPoint({ token: i }); }} onBlur={() => onPoint(null)}
            onClick={() => onHold({ token: i })}>
            {spaces}<span class={kind}>{bare ? <Shown text={bare} /> : <span class="soft">{piece.includes("\n") ? "↵" : "·"}</span>}</span>{piece.includes("\n") && <br />}
          </span>
        );
      })}
    </p>
  );
}

function Row({ hit, tokens, tints, lit, dim, held, several, onPoint, onHold }: {
  hit: Hit; tokens: string[]; tints: boolean; lit: boolean; dim: boolean; held: boolean; several: boolean; onPoint: (on: boolean) => void; onHold: () => void;
}) {
  return (
    <li class={`hit${lit ? " lit" : ""}${dim ? " dim" : ""}${held ? " held" : ""}${tints ? " tints" : ""}`} onMouseEnter={() => onPoint(true)} onMouseLeave={() => onPoint(false)}
      onFocusIn={() => onPoint(true)} onFocusOut={() => onPoint(false)}>
      {picked.value ? <Pick name={hit.feature} title={hit.own_label ?? hit.name ?? hit.label} /> : <button type="button" class="pin" aria-pressed={held} aria-label={`Hold: tint the text by ${clean(hit.own_label ?? hit.name ?? hit.label)}`} onClick={onHold} />}
      <div class="name">
        <a href={`/f/${hit.feature}`}><Label text={hit.name ?? hit.label} own={hit.own_label} /></a>
        <Trust rating={hit.rating} />
        {hit.likely !== null && hit.name_tried > 0 && <span class="soft small">here; of texts it fires on, true of {hit.name_right} of {hit.name_tried}</span>}
        {several && <span class="soft small">layer {layerOf(hit.sae)}</span>}
      </div>
      <span class="strength" title={`${percent(hit.relative)} of its strongest`}><Bar share={hit.relative} label={`${percent(hit.relative)} of the strongest ever seen`} /><span class="small soft">{percent(hit.relative)}</span></span>
      <span class="at">{wordOf(hit, tokens)}</span>
    </li>
  );
}
