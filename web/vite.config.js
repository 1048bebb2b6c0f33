// The page is built into the package, so that users need no Node. `sources.json` says from which sources.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const OUT = "../src/likeness/studio/front";
const files = (folder) => readdirSync(folder, { withFileTypes: true }).flatMap((one) =>
  one.isDirectory() ? files(join(folder, one.name)) : [join(folder, one.name)]);

export default defineConfig({
  base: "/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { outDir: OUT, emptyOutDir: true, assetsDir: "assets", target: "es2022", modulePreload: false,
    rollupOptions: { output: { entryFileNames: "assets/studio.[hash].js", assetFileNames: "assets/studio.[hash][extname]" } } },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  plugins: [{
    name: "sources",
    closeBundle() {
      const known = ["index.html", "package.json", "vite.config.js", ...files("src"), ...files("public")].sort();
      const digests = Object.fromEntries(known.map((file) =>
        [file, createHash("sha256").update(readFileSync(file)).digest("hex")]));
      writeFileSync(join(OUT, "sources.json"), JSON.stringify(digests, null, 1) + "\n");
    },
  }],
});
