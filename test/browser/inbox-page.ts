/** Locators for the page of the inbox. */
import type { Locator, Page } from 'playwright-core'
import type { TestInbox } from '../example/harness.js'

/** The conversation of `whatsAppPayload()`. */
export const CONVERSATION = 'wa-106540352242922-16315551234'
export const DESKTOP = { viewport: { width: 1180, height: 760 } }

export async function signInByLink(page: Page, { url }: TestInbox, user = 'dana', tenant = 'acme'): Promise<void> {
  await page.goto(`${url}/?user=${user}&tenant=${tenant}`)
  await connected(page)
}

export function connected(page: Page): Promise<void> {
  return page.locator('[data-testid=connection][data-state=open]').waitFor()
}

export function disconnected(page: Page): Promise<void> {
  return page.locator('[data-testid=connection]:not([data-state=open])').waitFor()
}

export function bubble(page: Page, text: string): Locator {
  return page.getByTestId('message').filter({ hasText: text })
}

export function row(page: Page, id = CONVERSATION): Locator {
  return page.getByTestId(`conversation-${id}`)
}

export function textsOf(page: Page): Promise<string[]> {
  return page.getByTestId('message').locator('p').allInnerTexts()
}
