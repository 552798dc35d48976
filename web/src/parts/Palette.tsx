// The palette: Ctrl-K, a few letters, Enter. It goes to pages, features by number or name, and searches.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { findFeatures } from "../state/find";
import { random } from "../state/keys";
import { go } from "../state/router";
import { about, theme } from "../state/session";
import { layerOf } from "../state/words";
import { helpAt, pagesHere } from "./Frame";

export const paletteOpen = signal(false);

interface Entry { text: string; said: string; act: () => void }

const to = (path: string) => () => go(path);

function fixed(): Entry[] {
  return [
    ...pagesHere().map(([, path, text]): Entry => ({ text, said: "page", act: to(path) })),
    { text: "Any feature", said: "drawn by lot", act: () => void random() },
    { text: "Light, dark, as the system", said: "colours", act: () => (theme.value = { auto: "light", light: "dark" }[theme.value] ?? "auto") },
    { text: "Keys and help", said: "?", act: () => (helpAt.value = "keys") },
  ];
}

async function meant(text: string, signal: AbortSignal): Promise<Entry[]> {
  return (await findFeatures(text, signal)).map((found) => ({ text: found.title ?? found.name, said: found.title ? `layer ${layerOf(found.name)}` : "feature", act: to(`/f/${found.name}`) }));
}

export function Palette() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, set] = useState("");
  const [found, show] = useState<Entry[]>([]);
  const [at, move] = useState(0);
  // Before anybody can type: what comes later would wipe out the first letters.
  useLayoutEffect(() => {
    if (!paletteOpen.value) return dialog.current?.close();
    set("");
    dialog.current?.showModal();
  }, [paletteOpen.value]);
  useEffect(() => {
    move(0);
    const stop = new AbortController();
    const timer = setTimeout(() => void meant(text, stop.signal).then((entries) => !stop.signal.aborted && show(entries), () => undefined), text ? 100 : 0);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  const lower = text.trim().toLowerCase();
  const entries = [
    ...fixed().filter((entry) => entry.text.toLowerCase().includes(lower)), ...found,
    ...(lower ? [
      { text: `Search for “${text.trim()}”`, said: "names, texts, words", act: to(`/search?q=${encodeURIComponent(text.trim())}`) },
      ...(about.value?.model.state === "none" ? [] : [{ text: `Read “${text.trim()}”`, said: "through the model", act: to(`/?t=${encodeURIComponent(text.trim())}`) }]),
    ] : []),
  ];
  const take = (entry: Entry | undefined) => {
    paletteOpen.value = false;
    entry?.act();
  };
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) move((at + step + entries.length) % entries.length);
    else if (event.key === "Enter") take(entries[at]);
    else return;
    event.preventDefault();
  };
  return (
    <dialog ref={dialog} class="palette" aria-label="Go to" onClose={() => (paletteOpen.value = dialog.current!.open)} onClick={(event) => event.target === dialog.current && (paletteOpen.value = false)}>
      {paletteOpen.value && (
        <>
          <input type="text" role="combobox" aria-expanded="true" aria-controls="palette" aria-activedescendant={`p${at}`} aria-label="Page, feature or words" autocomplete="off"
            spellcheck={false} maxLength={200} placeholder="a page, a name, 12/6213" value={text} onInput={(event) => set(event.currentTarget.value)} onKeyDown={keys} />
          <ul id="palette" role="listbox" aria-label="Where to">
            {entries.map((entry, i) => (
              <li key={i} id={`p${i}`} role="option" aria-selected={i === at} ref={(row) => { if (i === at) row?.scrollIntoView({ block: "nearest" }); }}
                onPointerMove={() => move(i)} onClick={() => take(entry)}><bdi>{entry.text}</bdi><span class="soft small">{entry.said}</span></li>
            ))}
          </ul>
        </>
      )}
    </dialog>
  );
}
