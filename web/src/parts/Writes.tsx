// What a feature makes the model say: measured where it was, and by the direct way to the logits.
import type { DoseEffect, FeatureHead, Moved } from "../api/types";
import { number, percent, spelt } from "../state/words";
import { DoseCurve } from "./DoseCurve";

/** What was measured at its own maximum, or as near to that as it was. */
function fullest(doses: readonly DoseEffect[]): DoseEffect {
  return doses.reduce((best, one) => (Math.abs(one.dose - 1) < Math.abs(best.dose - 1) ? one : best));
}

/** The words that surely become likelier under a feature, what gains most first. */
function ownWords(doses: readonly DoseEffect[]): Moved[] {
  const surest = fullest(doses).raised.filter((one) => surely(one) > 0 && /\p{L}{4}/u.test(one.text)).sort((a, b) => b.after - b.before - a.after + a.before);
  // One that differs only by its capitals or the space before it says nothing new.
  return [...new Map(surest.map((one) => [one.text.trim().toLowerCase(), one])).values()];
}

/** In a sentence what it makes the model say, as far as that was measured. */
export function Does({ head }: { head: FeatureHead }) {
  const { effect } = head.feature;
  if (!effect) return <>What it makes the model say was not measured. </>;
  const words = ownWords(effect.doses).slice(0, 3), [first] = words;
  const listed = words.map((one, i) => <>{i > 0 && (i === words.length - 1 ? " and " : ", ")}“<bdi>{spelt(one.text)}</bdi>”</>);
  return head.kind === "writes" || head.kind === "both"
    ? <>Added to a text, it makes the model write {words.length ? listed : "other words"}. </>
    : first && clearly(first)
      ? <>Added to a text, it makes {listed} likelier{first.before > 0 && <> (“<bdi>{spelt(first.text)}</bdi>” {times(first.after / first.before)}, to {chance(first.after)})</>}. A random push as strong may raise other words as far: what is its own is which words. </>
      : <>Added to a text, it changes what the model writes no more than chance would. </>;
}

export function Writes({ head }: { head: FeatureHead }) {
  const { promoted = [], suppressed = [], effect } = head.feature;
  if (!effect && !promoted.length && !suppressed.length) return null;
  const lists = <><Tokens title="likelier" of={promoted} /><Tokens title="less likely" of={suppressed} /><p class="small soft">Direct effect only; later layers can undo it.</p></>;
  return (
    <section>
      <h2>What it makes the model say next</h2>
      {effect ? <Measured doses={effect.doses} kind={head.kind} /> : <><p class="small">Nobody measured it (<code>hooke atlas effects</code> does). By its direction alone:</p>{lists}</>}
      {effect && promoted.length > 0 && <details><summary class="small soft">the words it points at (logit lens)</summary><p class="small soft">What its direction would say if the model wrote straight from it: less to be trusted than what was measured.</p>{lists}</details>}
    </section>
  );
}

function Tokens({ title, of }: { title: string; of: { text: string; weight: number | null }[] }) {
  if (!of.length) return null;
  return (
    <>
      <h3>{title}</h3>
      <p class="chips">{of.slice(0, 12).map((token, i) => <bdi key={i} class="word" title={token.weight === null ? "" : number(token.weight)}>{spelt(token.text)}</bdi>)}</p>
    </>
  );
}

/** How many times as likely, to two digits. */
function times(factor: number): string {
  return `${number(Number(factor.toPrecision(2)))} times`;
}

/** A probability; what is next to nothing as such. */
function chance(share: number): string {
  return share < 1e-5 ? "< 0.001 %" : percent(share);
}

/** 1 or -1 where contexts that did not choose a word agree that it is likelier or less likely, as `DoseEffect.held` says; else 0. */
function surely({ rise, before, after }: Moved): number {
  return rise.low > 0 && after > before ? 1 : rise.high < 0 && after < before ? -1 : 0;
}

/** Whether a word is so much likelier that a reader of what is written might meet it. */
function clearly({ before, after }: Moved): boolean {
  return after >= 0.001 && after >= 5 * before;
}

/** The measured effect at the feature's own maximum, and how it grows with the dose. */
function Measured({ doses, kind }: { doses: DoseEffect[]; kind: string | null }) {
  const full = fullest(doses);
  const rows = [...full.raised.filter((one) => surely(one) > 0), ...full.lowered.filter((one) => surely(one) < 0)];
  const writes = kind === "writes" || kind === "both", own = ownWords(doses).slice(0, 1).some(clearly);
  const table = rows.length > 0 && (
    <table class="small effect">
      <thead><tr><th scope="col">next word</th><th scope="col">without</th><th scope="col">with it</th></tr></thead>
      <tbody>{rows.map((one, i) => <tr key={i} class={one.after < one.before ? "soft" : ""}><td><bdi>{spelt(one.text)}</bdi></td><td>{chance(one.before)}</td><td>{chance(one.after)}</td></tr>)}</tbody>
    </table>
  );
  const told = (
    <p class="small soft">It was added {full.dose === 1 ? "at its strongest" : `at ${number(full.dose)} times its strongest`} to the last word of neutral texts. That moves the chances of all next words by {number(full.kl.mean)} nats
      [{number(full.kl.low)}, {number(full.kl.high)}]; a random step as long moves them by {number(full.kl_random[0])}, one in twenty by {number(full.kl_random[1])} or more. Nats measure how far chances move: 0.1 a little, 0.5 clearly, 2 as far as text holds.</p>
  );
  return (
    <>
      <p class="small">{writes ? "It puts words of its own in. Chances of the next word, where they surely moved:" : own ? "Its own words become likelier, but not surely more than other words do under a random push as strong: what is its own is which words rise, not how far." : "The words it raises do not surely gain more than words do under a random push as strong."}</p>
      {(writes || own) && table}
      <details><summary class="small soft">{writes || own ? "how that was measured" : "what moved, and how that was measured"}</summary>{!writes && !own && table}{told}{doses.length > 1 && <Doses doses={doses} />}</details>
    </>
  );
}

function Doses({ doses }: { doses: DoseEffect[] }) {
  return (
    <DoseCurve points={doses.map((one) => ({ dose: one.dose, value: one.kl.mean, chance: one.kl_random[1] }))} most={Math.max(...doses.map((one) => one.kl.high))}
      label="How far it moves what comes next, by dose, above what random steps do" chance="strength; grey: one random step in twenty" table={
        <table><thead><tr><th scope="col">strength</th><th scope="col">nats</th><th scope="col">random, half</th><th scope="col">one in twenty</th></tr></thead>
          <tbody>{doses.map((one) => <tr key={one.dose}><td>{number(one.dose)}</td><td>{number(one.kl.mean)}</td><td>{number(one.kl_random[0])}</td><td>{number(one.kl_random[1])}</td></tr>)}</tbody></table>
      } />
  );
}
