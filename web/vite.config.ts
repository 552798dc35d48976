import { defineConfig } from "vite";

// The built files are committed: names carry a digest of what is in them, nothing in them depends on the machine.
export default defineConfig({
  build: {
    outDir: "../src/hooke/serve/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    sourcemap: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  server: { proxy: { "/api": "http://127.0.0.1:1665" } },
});
