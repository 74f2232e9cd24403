/** The tabs of one browser context: finds the tab with the connection, and crashes a tab. */
import { expect } from 'chai'
import type { Page } from 'playwright-core'

/** The tab that holds the kit's lock, and so has the connection. */
export async function leaderOf(pages: readonly Page[]): Promise<Page> {
  const isLeader = (page: Page) =>
    page.evaluate(() =>
      navigator.locks.request(`client id ${Math.random()}`, async (mine) => {
        const { held = [] } = await navigator.locks.query()
        const kits = held.find(({ name }) => name?.startsWith('express-sse-kit'))
        return kits?.clientId === held.find(({ name }) => name === mine?.name)?.clientId
      }),
    )
  const leads = await Promise.all(pages.map(isLeader))
  expect(leads.filter(Boolean)).to.have.length(1)
  return pages[leads.indexOf(true)] as Page
}

export async function crash(page: Page): Promise<void> {
  const crashed = page.waitForEvent('crash')
  const session = await page.context().newCDPSession(page)
  // A crashed page never answers.
  session.send('Page.crash').catch(() => undefined)
  await crashed
}
