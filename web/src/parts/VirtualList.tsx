// A list of any length of which only what is on the screen is in the page. Rows have one height; they come in blocks.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const BLOCK = 100;

export interface Block<T> {
  rows: T[];
  total: number;
}

/** `fetch` gives the rows from a number on; whatever changes `key` empties the list. Arrow keys walk the rows' links. */
export function VirtualList<T>({ id, fetch, row, height, label, onTotal, onError }: {
  id: string;
  fetch: (from: number, limit: number, signal: AbortSignal) => Promise<Block<T>>;
  row: (value: T, at: number) => ComponentChildren;
  height: number;
  label: string;
  onTotal: (total: number, first: Block<T>) => void;
  onError: (message: string) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const blocks = useRef(new Map<number, T[]>());
  const asked = useRef(new Map<number, AbortController>());
  const shownFor = useRef(id);
  const [total, setTotal] = useState(0);
  const [span, setSpan] = useState({ first: 0, last: 0 });
  const [, redraw] = useState(0);

  const look = () => {
    const element = box.current;
    if (!element) return;
    const top = Math.max(0, -element.getBoundingClientRect().top);
    const first = Math.max(0, Math.floor(top / height) - 8);
    setSpan({ first, last: first + Math.ceil(innerHeight / height) + 16 });
  };
  useLayoutEffect(() => {
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [height, total]);

  useEffect(() => {
    if (shownFor.current !== id) {
      shownFor.current = id;
      asked.current.forEach((stop) => stop.abort());
      asked.current.clear();
    }
    const wanted = new Set<number>([0]);
    for (let at = span.first; at <= span.last; at += BLOCK / 2) wanted.add(Math.floor(Math.min(at, Math.max(0, total - 1)) / BLOCK));
    wanted.add(Math.floor(Math.min(span.last, Math.max(0, total - 1)) / BLOCK));
    for (const [block, stop] of asked.current) {
      if (!wanted.has(block) && !blocks.current.has(block)) {
        stop.abort();
        asked.current.delete(block);
      }
    }
    const fresh = asked.current.size === 0;
    for (const block of wanted) {
      if (asked.current.has(block)) continue;
      const stop = new AbortController();
      asked.current.set(block, stop);
      fetch(block * BLOCK, BLOCK, stop.signal).then(
        (found) => {
          if (stop.signal.aborted) return;
          if (fresh && block === 0) blocks.current.clear();
          blocks.current.set(block, found.rows);
          setTotal(found.total);
          if (block === 0) onTotal(found.total, found);
          redraw((n) => n + 1);
        },
        (error: Error) => !stop.signal.aborted && onError(error.message),
      );
    }
  }, [id, span.first, span.last, total]);

  const keys = (event: KeyboardEvent) => {
    const links = [...box.current!.querySelectorAll<HTMLElement>("[data-row] a")];
    const at = links.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const next = links[Math.max(0, Math.min(links.length - 1, at + step))];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };

  const rows: ComponentChildren[] = [];
  for (let at = span.first; at < Math.min(span.last, total); at++) {
    const value = blocks.current.get(Math.floor(at / BLOCK))?.[at % BLOCK];
    rows.push(
      <div key={at} role="row" aria-rowindex={at + 2} data-row class="row" style={{ top: `${at * height}px`, height: `${height}px` }}>
        {value ? row(value, at) : <span role="cell" class="soft">…</span>}
      </div>,
    );
  }
  return (
    <div role="rowgroup" aria-label={label} class="virtual" ref={box} onKeyDown={keys} style={{ height: `${total * height}px` }}>
      {rows}
    </div>
  );
}
