// What goes into the grid of layers: of one text, and of two that are held against each other.
import type { LayerDiffering, LayerReading, SaeDiffering, SaeReading } from "../api/types";
import { number, percent, spelt } from "../state/words";
import { Grid, type Cell, type LayerRow } from "./Grid";
import { Label } from "./Text";

/** Nats to the end at and below which a cell takes the next tint; and bits apart from which on it does. */
const FEW = 6;
const NEAR = [4, 2, 1, 0.5, 0.25];
export const APART = [0.02, 0.1, 0.25, 0.5, 0.75];

type Holding = { held: number | null; onHold: (pos: number) => void };

/** One text: in each cell what would come next, were that layer the last. */
export function OneText({ tokens, layers, saes, ...holding }: { tokens: readonly string[]; layers: readonly LayerReading[]; saes: readonly SaeReading[] } & Holding) {
  const bySae = new Map(saes.map((one) => [one.layer, one]));
  const cell = (layer: LayerReading, i: number): Cell => ({
    shown: <bdi>{spelt(layer.words[i]![0])}</bdi>, tint: NEAR.filter((most) => layer.kl[i]! <= most).length, strong: layer.rank[i] === 1,
    said: `${layer.words[i]!.map((word, k) => `${spelt(word)} ${percent(layer.probabilities[i]![k]!)}`).join(" · ")}; ${layer.kl[i]!.toFixed(2)} nats from the end; the model's own word is number ${number(layer.rank[i])} here`,
  });
  const rows = inOrder(layers).map((layer): LayerRow => {
    const own = bySae.get(layer.layer);
    return {
      layer: layer.layer, cells: tokens.map((_, i) => cell(layer, i)),
      features: own ? own.top.map((one) => one ? <a href={`/f/${one.feature}`} tabIndex={-1} title={`${percent(one.relative)} of its strongest`}><Label text={own.titles[one.feature] ?? one.feature} /></a> : <span class="soft">–</span>) : null,
    };
  });
  const first = rows.findIndex((row) => row.cells.some((own) => own.tint > 0));
  return <Grid heads={tokens.map((token) => <bdi>{spelt(token)}</bdi>)} rows={rows} faint={layers.length > FEW ? first : 0} {...holding} />;
}

/** Two texts: in each cell what either would go on with, tinted by how far apart these are. */
export function TwoTexts({ tokens, layers, saes, ...holding }: { tokens: readonly [string, string][]; layers: readonly LayerDiffering[]; saes: readonly SaeDiffering[] } & Holding) {
  const bySae = new Map(saes.map((one) => [one.layer, one]));
  const cell = (layer: LayerDiffering, i: number): Cell => {
    const [first, second] = layer.words[i]!.map(spelt), apart = layer.apart[i]!;
    return { shown: <Pair first={first!} second={second!} />, tint: APART.filter((least) => apart >= least).length, strong: first !== second, said: `${apart.toFixed(2)} bits apart; first ${first}, second ${second}` };
  };
  const rows = inOrder(layers).map((layer): LayerRow => ({
    layer: layer.layer, cells: tokens.map((_, i) => cell(layer, i)), features: bySae.get(layer.layer)?.most.map((one) => <Changed one={one} of={bySae.get(layer.layer)!} />) ?? null,
  }));
  return <Grid heads={tokens.map(([first, second]) => <Pair first={spelt(first)} second={spelt(second)} />)} rows={rows} {...holding} />;
}

function Pair({ first, second }: { first: string; second: string }) {
  return first === second ? <bdi>{first}</bdi> : <><bdi class="one">{first}</bdi><bdi class="other">{second}</bdi></>;
}

/** The feature that differs most, and how strong it is in either text. */
export function Changed({ one, of }: { one: SaeDiffering["most"][number]; of: SaeDiffering }) {
  return one
    ? <><a href={`/f/${one.feature}`} tabIndex={-1}><Label text={of.titles[one.feature] ?? one.feature} /></a> <span class="soft nowrap">{percent(one.first)} → {percent(one.second)}</span></>
    : <span class="soft">–</span>;
}

export function inOrder<T extends { layer: number }>(layers: readonly T[]): T[] {
  return [...layers].sort((a, b) => a.layer - b.layer);
}
