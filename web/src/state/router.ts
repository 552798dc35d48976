// The address is the state: a page, and what a reader has to see to see the same.
import { computed, signal } from "@preact/signals";

const here = signal(location.pathname + location.search);

export const path = computed(() => here.value.split("?")[0]!);
export const params = computed(() => new URLSearchParams(here.value.split("?")[1] ?? ""));

/** Go to an address of this page. */
export function go(to: string, replace = false): void {
  if (to === here.value) return;
  const pageChanged = to.split("?")[0] !== path.value;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  here.value = to;
  if (pageChanged && !replace) {
    scrollTo(0, 0);
    requestAnimationFrame(() => {
      const main = document.getElementById("main");
      if (!main?.contains(document.activeElement)) main?.focus({ preventScroll: true });
    });
  }
}

/** The same page with other parameters; empty ones are left out. */
export function withParams(changes: Record<string, string | readonly string[] | null>): string {
  const next = new URLSearchParams(params.value);
  for (const [key, value] of Object.entries(changes)) {
    next.delete(key);
    if (Array.isArray(value)) value.forEach((one) => next.append(key, one));
    else if (value) next.set(key, value as string);
  }
  const text = next.toString();
  return path.value + (text && `?${text}`);
}

addEventListener("popstate", () => {
  here.value = location.pathname + location.search;
});

document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest?.("a[href]");
  if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target || link.origin !== location.origin) return;
  if (link.hasAttribute("download") || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
