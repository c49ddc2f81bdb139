// What a person does with the live page, and what must be seen then; driven in Chromium. `tests/page.rs` starts it with the name
// of a file of this folder, and the part of it that is to be done.
import { browser } from "./shared.mjs";

const [file, part] = process.argv.slice(2);
try {
  await (await import(`./${file}.mjs`))[part]();
} finally {
  await browser.close();
}
