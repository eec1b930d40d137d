// Runs the Khronos glTF validator on GLB files.
//
// Install it once with `npm install --prefix tools`, then:
//     node tools/validate_glb.mjs head.glb other.glb
// Prints every message per file. Exits 1 on any error or warning, 2 on wrong use.

import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const LEVELS = ["error", "warning", "info", "hint"];
const paths = process.argv.slice(2);
if (paths.length === 0) {
  console.error("usage: node tools/validate_glb.mjs FILE.glb ...");
  process.exit(2);
}

let failed = false;
for (const path of paths) {
  try {
    const bytes = new Uint8Array(await readFile(path));
    // maxIssues 0 means no limit; a file must not pass because its list was cut.
    const report = await validator.validateBytes(bytes, { uri: path, maxIssues: 0 });
    const { numErrors, numWarnings, numInfos, messages } = report.issues;
    console.log(`${path}: ${numErrors} errors, ${numWarnings} warnings, ${numInfos} infos`);
    for (const { severity, code, message, pointer } of messages) {
      console.log(`  ${LEVELS[severity]} ${code} at ${pointer ?? "the file"}: ${message}`);
    }
    failed ||= numErrors + numWarnings > 0;
  } catch (problem) {
    console.log(`${path}: cannot be validated: ${problem.message ?? problem}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
