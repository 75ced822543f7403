// Prints the queries that the grammar of @grafana/lezer-logql accepts without
// an error node. It reads queries as JSON strings, one a line:
//
//   npm install @grafana/lezer-logql@0.4.2 @lezer/lr@1.4.10
//   node check.mjs <queries.jsonl
//
// The accepted ones belong into ../lezer_accepts.txt. No test runs this.
import { parser } from '@grafana/lezer-logql';
import { readFileSync } from 'node:fs';

for (const line of readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue;
  let bad = false;
  parser.parse(JSON.parse(line)).iterate({ enter: (n) => { bad ||= n.type.isError; } });
  if (!bad) console.log(line);
}
