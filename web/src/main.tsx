// The page: which page is shown at which address.
import { render, type VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import "./style.css";
import "./state/keys";
import { Empty } from "./parts/Bits";
import { Frame } from "./parts/Frame";
import { FeaturePage } from "./pages/Feature";
import { FeaturesPage } from "./pages/Features";
import { ListsPage } from "./pages/Lists";
import { LostPage } from "./pages/Lost";
import { ReadPage } from "./pages/Read";
import { RunsPage } from "./pages/Runs";
import { SaePage } from "./pages/Sae";
import { SaesPage } from "./pages/Saes";
import { SearchPage } from "./pages/Search";
import { featureHere } from "./state/keys";
import { path } from "./state/router";
import { about, enter } from "./state/session";

/** A page that is fetched when it is first gone to. */
function later(load: () => Promise<() => VNode>): () => VNode {
  return function Fetched() {
    const [page, set] = useState<{ show: () => VNode } | null>(null);
    useEffect(() => void load().then((show) => set({ show })), []);
    return page ? <page.show /> : <Empty>Opening…</Empty>;
  };
}

const ComparePage = later(() => import("./pages/Compare").then((own) => own.ComparePage));
const LayersPage = later(() => import("./pages/Layers").then((own) => own.LayersPage));
const SteerPage = later(() => import("./pages/Steer").then((own) => own.SteerPage));

function Page() {
  if (!about.value) return <Empty>Opening…</Empty>;
  const feature = featureHere();
  if (feature) return <FeaturePage name={`${feature.sae}/${feature.index}`} />;
  const sae = /^\/saes\/([^/]+\/[^/]+\/[^/]+)$/.exec(path.value);
  if (sae) return <SaePage name={decodeURIComponent(sae[1]!)} />;
  switch (path.value) {
    case "/": return <ReadPage />;
    case "/features": return <FeaturesPage />;
    case "/search": return <SearchPage />;
    case "/lists": return <ListsPage />;
    case "/steer": return <SteerPage />;
    case "/layers": return <LayersPage />;
    case "/compare": return <ComparePage />;
    case "/saes": return <SaesPage />;
    case "/runs": return <RunsPage />;
    default: return <LostPage />;
  }
}

render(<Frame><Page /></Frame>, document.getElementById("app")!);
void enter();
