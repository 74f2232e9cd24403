import { expect } from 'chai'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { launch } from './browser.js'
import { KitServer, seenBy, stateOf } from './kit-page.js'
import { crash, leaderOf } from './tabs.js'

describe('tabs in Chromium', () => {
  let browser: Browser
  let context: BrowserContext
  let server: KitServer
  let start: string

  before(async () => {
    browser = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] })
  })
  after(() => browser.close())

  beforeEach(async () => {
    server = await KitServer.start()
    start = await server.cursor()
    context = await browser.newContext()
  })
  afterEach(async () => {
    await context.close()
    await server.stop()
  })

  /** Opens a tab that listens from the first event on. */
  async function openTab(identity = 'dana', cursor = start): Promise<Page> {
    const page = await context.newPage()
    await page.goto(server.url)
    await page.evaluate(([identity, cursor]) => kit.share(identity, cursor), [identity, cursor] as const)
    return page
  }

  const openTabs = (count: number) => Promise.all(range(1, count).map(() => openTab()))
  const allOpen = (pages: readonly Page[]) =>
    eventually(async () => (await Promise.all(pages.map(stateOf))).every((each) => each === 'open'))

  async function assertAllSaw(pages: readonly Page[], numbers = server.numbers): Promise<void> {
    for (const page of pages) {
      await eventually(async () => (await seenBy(page)).at(-1) === numbers.at(-1))
      expect(await seenBy(page)).to.deep.equal(numbers)
    }
  }

  it('share one connection among eight, and each gets every event', async () => {
    const pages = await openTabs(8)
    await allOpen(pages)
    expect(server.streams).to.equal(1)
    expect(server.opened).to.equal(1)
    await server.publish(100)
    await assertAllSaw(pages)
    expect(server.opened).to.equal(1)
  })

  for (const [how, end] of [
    ['is closed', (page: Page) => page.close()],
    ['crashes', crash],
    ['goes elsewhere', (page: Page) => page.goto('about:blank').then(() => undefined)],
  ] as const) {
    it(`get each event once when the tab with the connection ${how} in traffic`, async () => {
      let pages = await openTabs(4)
      await allOpen(pages)
      const stop = server.publishOn()
      for (let round = 0; round < 2; round++) {
        const before = server.published
        await eventually(() => server.published > before + 50)
        const leader = await leaderOf(pages)
        pages = pages.filter((page) => page !== leader)
        await end(leader)
        const opened = round + 2
        await eventually(() => server.opened === opened && server.streams === 1)
      }
      const before = server.published
      await eventually(() => server.published > before + 50)
      await stop()
      await assertAllSaw(pages)
      expect(server.opened).to.equal(3)
    })
  }

  it('replay the events after their own cursors when they join', async () => {
    const first = await openTab()
    await allOpen([first])
    await server.publish(20)
    const later = await server.cursor()
    await server.publish(20)
    await assertAllSaw([first])
    // Not more events than a page keeps for tabs that join, however long joining takes.
    const [all, half] = await Promise.all([openTab(), openTab('dana', later), server.publish(150)])
    await server.publish(20)
    await assertAllSaw([first, all])
    await assertAllSaw([half], server.numbers.slice(20))
    expect(server.opened).to.equal(1)
  })

  it('get sse.reset if their cursor is older than the kept events', async () => {
    const first = await openTab()
    await allOpen([first])
    await server.publish(400)
    await assertAllSaw([first])
    const late = await openTab()
    await eventually(async () => (await seenBy(late)).length === 1)
    await server.publish(2)
    await assertAllSaw([late], [-1, 401, 402])
  })

  it('of another user get none of the events', async () => {
    const [dana, gus] = await Promise.all([openTab('dana'), openTab('gus')])
    await allOpen([dana, gus])
    expect(server.streams).to.equal(2)
    await server.publish(5)
    await assertAllSaw([dana, gus])
  })

  it('all close when the server refuses the connection without retry', async () => {
    const pages = await openTabs(2)
    await allOpen(pages)
    await server.multiplexer.close()
    for (const page of pages) await eventually(async () => (await stateOf(page)).startsWith('waiting'))
    await context.route('**/stream', (route) => route.fulfill({ status: 403, body: '{"code":"ERR_SSE_FORBIDDEN"}' }))
    for (const page of pages) await page.evaluate(() => kit.stream?.reconnect())
    for (const page of pages) {
      await eventually(async () => (await stateOf(page)).startsWith('closed'))
      expect(await page.evaluate(() => kit.stream?.status.error?.code)).to.equal('ERR_SSE_FORBIDDEN')
      await page.evaluate(() => kit.stream?.reconnect())
      expect(await stateOf(page), 'for good').to.match(/^closed/)
    }
  })

  it('have one stream each without Web Locks', async () => {
    await context.addInitScript(() => Object.defineProperty(navigator, 'locks', { value: undefined }))
    const pages = await openTabs(2)
    await allOpen(pages)
    expect(server.streams).to.equal(2)
    await server.publish(3)
    await assertAllSaw(pages)
  })
})
