// Which SAEs to look through: one button for each that the model can read with.
import type { Signal } from "@preact/signals";
import { about } from "../state/session";
import { layerOf } from "../state/words";

/** `chosen` are names of SAEs; empty stands for the default one. */
export function Layers({ chosen }: { chosen: Signal<string[]> }) {
  const { saes: known, default: usual } = about.value!.model;
  const on = chosen.value.length ? chosen.value : usual;
  const flip = (name: string) => {
    const next = known.filter((own) => (own === name ? !on.includes(own) : on.includes(own)));
    if (next.length) chosen.value = next;
  };
  return (
    <>
      <span class="soft" id="depths">Look at layer</span>
      <div class="choice" role="group" aria-labelledby="depths">
        {known.map((name) => <button key={name} type="button" title={name} aria-pressed={on.includes(name)} onClick={() => flip(name)}>{layerOf(name)}</button>)}
      </div>
    </>
  );
}
