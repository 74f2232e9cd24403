/** The Chromium that the browser tests drive, and the screenshots for the README. */
import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContextOptions, chromium, type LaunchOptions, type Page } from 'playwright-core'

const FOLDER = fileURLToPath(new URL('../../docs/screenshots/', import.meta.url))

export function launch(options: LaunchOptions = {}): Promise<Browser> {
  return chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** A page in a new context, so with a new session. Collects the page's errors, so that the test can fail on them. */
export async function openPage(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<{ readonly page: Page; readonly problems: string[] }> {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...options })
  context.setDefaultTimeout(15_000)
  const page = await context.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => {
    // A restart of the server refuses connections: those errors are expected.
    if (message.type() === 'error' && !/net::ERR_|status of 50\d/.test(message.text())) problems.push(message.text())
  })
  return { page, problems }
}

/** With `SCREENSHOTS=1` saves a screenshot in docs/screenshots. */
export async function screenshot(page: Page, name: string): Promise<void> {
  if (process.env.SCREENSHOTS !== '1') return
  await mkdir(FOLDER, { recursive: true })
  await page.screenshot({ path: `${FOLDER}${name}.png`, animations: 'disabled' })
}
