// How something grows with the dose, above what chance does; the table beneath has the numbers.
import type { ComponentChildren } from "preact";

export interface DosePoint { dose: number; value: number; chance: number }

export function DoseCurve({ points, most, label, chance, table }: {
  points: readonly DosePoint[]; most?: number; label: string; chance: string; table: ComponentChildren;
}) {
  const all = [...points, { dose: 0, value: 0, chance: 0 }].sort((a, b) => a.dose - b.dose);
  const left = all[0]!.dose, right = all.at(-1)!.dose;
  const top = Math.max(most ?? 0, ...all.flatMap((one) => [one.value, one.chance]), 1e-9);
  const x = (dose: number) => (100 * (dose - left)) / (right - left || 1);
  const line = (of: (one: DosePoint) => number) => all.map((one) => `${x(one.dose).toFixed(1)},${(39 - (37 * Math.max(0, of(one))) / top).toFixed(1)}`).join(" ");
  return (
    <figure class="plot">
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={`${label}; the table below has the numbers`}>
        <polygon points={`0,39 ${line((one) => one.chance)} 100,39`} /><polyline points={line((one) => one.value)} />
      </svg>
      <figcaption class="small soft ends"><span>{left}×</span><span>{chance}</span><span>{right}×</span></figcaption>
      <details><summary class="small soft">as a table</summary>{table}</details>
    </figure>
  );
}
