// The first three hits of the site's own search for each query: node search.js SITE < queries (query<TAB>page,page)
const fs = require("fs"), vm = require("vm"), path = require("path");
const site = process.argv[2];
const read = (f) => fs.readFileSync(path.join(site, f), "utf8");
const context = { console, Scorer: undefined, window: {}, document: { getElementById: () => null, addEventListener() {}, readyState: "loading", documentElement: { dataset: {} } },
  DOCUMENTATION_OPTIONS: {}, };
context.window = context; context.SPHINX_HIGHLIGHT_ENABLED = false;
context._ready = () => {}; context._ = (s) => s;
vm.createContext(context);
for (const f of ["_static/language_data.js", "_static/searchtools.js"])
  if (fs.existsSync(path.join(site, f))) vm.runInContext(read(f), context);
vm.runInContext(read("searchindex.js") + "; this.Search = Search;", context);
let bad = 0;
for (const line of fs.readFileSync(0, "utf8").trim().split("\n")) {
  const [query, want] = line.split("\t");
  const found = vm.runInContext(`(() => { const [q, terms, ex, hl, obj] = Search._parseQuery(${JSON.stringify(query)});
    return Search._performSearch(q, terms, ex, hl, obj); })()`, context);
  const hits = [];
  for (const r of [...found].reverse()) if (!hits.includes(r[0])) hits.push(r[0]);
  const first = [...found].reverse().slice(0, 3).map((r) => r[0]);
  const ok = want.split(",").some((w) => first.includes(w));
  bad += !ok;
  console.log((ok ? "ok   " : "MISS ") + query.padEnd(24) + " want " + want + " got " + first.join(" | "));
}
process.exit(bad ? 1 : 0);
