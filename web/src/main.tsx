// The page: which page is shown at which address.
import { render } from "preact";
import "./style.css";
import "./state/keys";
import { Empty } from "./parts/Bits";
import { Frame } from "./parts/Frame";
import { ComparePage } from "./pages/Compare";
import { FeaturePage } from "./pages/Feature";
import { FeaturesPage } from "./pages/Features";
import { ListsPage } from "./pages/Lists";
import { ReadPage } from "./pages/Read";
import { RunsPage } from "./pages/Runs";
import { SaesPage } from "./pages/Saes";
import { SearchPage } from "./pages/Search";
import { SteerPage } from "./pages/Steer";
import { featureHere } from "./state/keys";
import { path } from "./state/router";
import { about, enter } from "./state/session";

function Page() {
  if (!about.value) return <Empty>Opening…</Empty>;
  const feature = featureHere();
  if (feature) return <FeaturePage name={`${feature.sae}/${feature.index}`} />;
  switch (path.value) {
    case "/": return <ReadPage />;
    case "/features": return <FeaturesPage />;
    case "/search": return <SearchPage />;
    case "/lists": return <ListsPage />;
    case "/steer": return <SteerPage />;
    case "/compare": return <ComparePage />;
    case "/saes": return <SaesPage />;
    case "/runs": return <RunsPage />;
    default: return <Empty>Nothing is at this address. <a href="/">Begin with a text</a>, or <a href="/features">look at features</a>.</Empty>;
  }
}

render(<Frame><Page /></Frame>, document.getElementById("app")!);
void enter();
