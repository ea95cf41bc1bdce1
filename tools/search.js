// Whether the site's own search puts the right page among its first three hits.
//
//     make docs && node tools/search.js docs/_build/html < docs/searches.tsv
//
// A line is what a user types, a tab, and the pages that answer it, with commas between. Sphinx's
// searchtools.js runs here as in a browser, with its scores, but for the page that it would write into.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const site = process.argv[2];
const nothing = () => null;
const page = { addEventListener: nothing, getElementById: nothing, documentElement: { dataset: {} } };
const context = vm.createContext({ document: page, DOCUMENTATION_OPTIONS: {}, SPHINX_HIGHLIGHT_ENABLED: false });
context.window = context;
context._ready = nothing;
context._ = (text) => text;
for (const file of ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"])
  vm.runInContext(fs.readFileSync(path.join(site, file), "utf8"), context);
const find = vm.runInContext("(words) => Search._performSearch(...Search._parseQuery(words))", context);

let missed = 0;
for (const line of fs.readFileSync(0, "utf8").trim().split("\n")) {
  const [words, pages] = line.split("\t");
  const hits = find(words).reverse().slice(0, 3).map((hit) => hit[0]);
  if (pages.split(",").some((page) => hits.includes(page))) continue;
  missed += 1;
  console.log(`"${words}" finds ${hits.join(", ")}, not ${pages}`);
}
if (missed) process.exit(1);
console.log("Every search finds its page.");
