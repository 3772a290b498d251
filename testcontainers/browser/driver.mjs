// Drives a headless Chromium for tests: reads one JSON command a line, answers one JSON value a line.
// Arguments: the folder of playwright-core, and that of Chromium's archives, which are unpacked there once.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import zlib from 'node:zlib';

const [playwright, archives] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);

/** The folder with the program, its libraries and fonts; it exists only when it is complete. */
function unpacked() {
  const folder = path.join(archives, 'unpacked');
  if (fs.existsSync(folder)) return folder;
  const partial = fs.mkdtempSync(path.join(archives, 'partial-'));
  const read = name => zlib.brotliDecompressSync(fs.readFileSync(path.join(archives, `${name}.br`)));
  fs.writeFileSync(path.join(partial, 'chromium'), read('chromium'), { mode: 0o755 });
  for (const name of ['al2023.tar', 'fonts.tar']) {
    const done = spawnSync('tar', ['-x', '-C', partial], { input: read(name) });
    if (done.status !== 0) throw new Error(`tar cannot unpack ${name}: ${done.stderr}`);
  }
  fs.writeFileSync(path.join(partial, 'fonts.conf'), `<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/cache</cachedir></fontconfig>`);
  try {
    fs.renameSync(partial, folder);
  } catch (error) {
    // Another one was quicker.
    if (!fs.existsSync(folder)) throw error;
    fs.rmSync(partial, { recursive: true });
  }
  return folder;
}

const home = unpacked();
const browser = await chromium.launch({
  executablePath: path.join(home, 'chromium'),
  env: { LD_LIBRARY_PATH: path.join(home, 'lib'), FONTCONFIG_FILE: path.join(home, 'fonts.conf'), HOME: os.tmpdir(), PATH: process.env.PATH },
  args: ['--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
let page = null;
let complaints = [];

const commands = {
  async open({ url, width, height, dark }) {
    await page?.context().close();
    complaints = [];
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light' });
    page = await context.newPage();
    page.on('pageerror', error => complaints.push(`error: ${error.message}`));
    page.on('console', message => {
      if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
    });
    page.on('request', request => {
      if (new URL(request.url()).origin !== new URL(url).origin && !request.url().startsWith('data:')) complaints.push(`asks elsewhere: ${request.url()}`);
    });
    await page.goto(url);
  },
  async wait({ selector, text, ms }) {
    const matches = ([selector, text]) => {
      const found = document.querySelector(selector);
      return found !== null && found.checkVisibility() && found.textContent.includes(text);
    };
    await page.waitForFunction(matches, [selector, text], { timeout: ms, polling: 20 });
  },
  async gone({ selector, ms }) {
    const isGone = selector => !document.querySelector(selector)?.checkVisibility();
    await page.waitForFunction(isGone, selector, { timeout: ms, polling: 20 });
  },
  text: ({ selector }) => page.locator(selector).first().textContent({ timeout: 5000 }),
  count: ({ selector }) => page.locator(selector).count(),
  visible: ({ selector }) => page.locator(selector).first().isVisible(),
  click: ({ selector }) => page.locator(selector).first().click({ timeout: 5000 }),
  fill: ({ selector, text }) => page.locator(selector).first().fill(text, { timeout: 5000 }),
  press: ({ key }) => page.keyboard.press(key),
  focused: () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.trim()),
  overflow: () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
  shot: async ({ path: file }) => void (await page.screenshot({ path: file })),
  complaints: () => complaints,
};

console.log(JSON.stringify({ value: browser.version() }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await commands[command](options)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error?.message ?? error) }));
  }
}
await browser.close();
