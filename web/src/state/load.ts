// Values that come from the server: the newest request wins, older ones are ended.
import { useEffect, useState } from "preact/hooks";
import type { Problem } from "../api/client";

export interface Loaded<T> {
  value: T | null;
  error: string | null;
  again: () => void;
}

/** What `fetch` gives, asked again whenever `key` changes; the old value stays until the new one is there. */
export function useLoaded<T>(key: string, fetch: (signal: AbortSignal) => Promise<T>, delay = 0): Loaded<T> {
  const [state, set] = useState<{ key: string; value: T | null; error: string | null }>({ key, value: null, error: null });
  const [round, turn] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      fetch(stop.signal).then(
        (value) => !stop.signal.aborted && set({ key, value, error: null }),
        (error: Problem) => !stop.signal.aborted && set({ key, value: null, error: error.message }),
      );
    }, delay);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, round]);
  return { value: state.value, error: state.error, again: () => turn(round + 1) };
}
