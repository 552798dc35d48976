// SAEs: what the features come from, and how good it is.
import { api } from "../api/client";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { useLoaded } from "../state/load";
import { about } from "../state/session";
import { number, percent, place } from "../state/words";

export function SaesPage() {
  const { value, error, again } = useLoaded(`saes ${about.value!.model.state}`, () => api.saes());
  if (error) return <Failed error={error} again={again} />;
  return (
    <div>
      <h1>Sparse autoencoders</h1>
      <p class="lede">Each takes apart what the model computes at one place into features, of which a few fire at a time. Another one would cut the same thing otherwise.</p>
      {value && !value.length && <Empty>No atlas is open. The default pack brings one: <code>pip install hooke-gemma-3-270m</code></Empty>}
      {!!value?.length && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of sparse autoencoders">
          <table class="saes">
            <thead><tr>
              <th scope="col">at</th><th scope="col">features</th><th scope="col">have a name</th><th scope="col">never fired</th>
              <th scope="col">explains, of its text</th><th scope="col">of headlines</th><th scope="col">tokens read</th><th scope="col">reads your texts</th>
            </tr></thead>
            <tbody>{value.map((row) => (
              <tr key={row.name}>
                <th scope="row"><a href={`/features?sae=${encodeURIComponent(row.name)}`}>{place(row.name)}</a><br /><code class="soft small">{row.name}</code></th>
                <td>{number(row.d_sae)}</td><td>{row.named === null ? "not measured" : percent(row.named / row.d_sae)}</td><td>{number(row.dead)}</td>
                <td>{percent(row.explained)}</td><td>{percent(row.explained_headlines)}</td><td>{number(row.tokens)}</td><td>{row.ready ? "yes" : about.value!.model.state === "loading" ? "soon" : "no"}</td>
              </tr>
            ))}</tbody>
          </table>
        </div>
      )}
      <p class="soft small">“Explains” is the share of the variance of the model's activations that the features rebuild. What is not rebuilt is not shown anywhere on these pages.</p>
      <Elsewhere command="hooke saes --json" json={() => value} />
    </div>
  );
}
