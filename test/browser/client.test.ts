import { expect } from 'chai'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { eventually } from '../helpers/eventually.js'
import { launch } from './browser.js'
import { KitServer, seenBy, stateOf } from './kit-page.js'

describe('the client in Chromium', () => {
  let browser: Browser
  let context: BrowserContext
  let page: Page
  let server: KitServer
  let start: string

  before(async () => {
    browser = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] })
  })
  after(() => browser.close())

  beforeEach(async () => {
    server = await KitServer.start({ heartbeatEvents: true })
    start = await server.cursor()
    context = await browser.newContext()
    page = await context.newPage()
    await page.goto(server.url)
  })
  afterEach(async () => {
    await context.close()
    await server.stop()
  })

  /** Takes only options that can be serialized for a page. */
  async function open(options: Parameters<typeof kit.open>[0] = {}): Promise<void> {
    await page.evaluate((options) => kit.open(options), { cursor: start, ...options })
    await isOpen()
  }

  const isOpen = () => eventually(async () => (await stateOf(page)) === 'open')

  async function assertSawAll(): Promise<void> {
    await eventually(async () => (await seenBy(page)).length >= server.published)
    expect(await seenBy(page)).to.deep.equal(server.numbers)
  }

  for (const transport of ['fetch', 'native'] as const) {
    it(`delivers each event once over connections that are cut, by ${transport}`, async () => {
      await open({ transport })
      const stop = server.publishOn()
      for (let round = 1; round <= 4; round++) {
        const before = server.published
        await eventually(() => server.published > before + 20)
        server.cut()
        await eventually(() => server.opened === round + 1)
      }
      await stop()
      await assertSawAll()
    })
  }

  it('delivers by native the types of listeners added after the opening, and eventTypes', async () => {
    await open({ transport: 'native', eventTypes: ['n'] })
    await page.evaluate(() => {
      kit.stream?.on('late', (event) => void kit.seen.push(event.json() as number))
      kit.stream?.on('*', ({ type }) => void kit.seen.push(type === 'late' ? -1 : -2))
    })
    await server.multiplexer.publish('log', { event: 'late', data: 7 })
    await server.publish()
    await eventually(async () => (await seenBy(page)).length === 4)
    expect(await seenBy(page)).to.deep.equal([7, -1, 1, -2])
  })

  it('sends its token and its cursor in the URL by native, with a new token for each connection', async () => {
    const urls: URL[] = []
    page.on('request', (request) => urls.push(new URL(request.url())))
    await open({ transport: 'native', tokenIn: 'ticket', withTickets: true })
    await server.publish()
    await assertSawAll()
    server.cut()
    await eventually(() => urls.length === 2)
    expect(urls.map(({ searchParams }) => searchParams.get('ticket'))).to.deep.equal(['ticket-1', 'ticket-2'])
    const [epoch] = start.split('-')
    expect(urls.map(({ searchParams }) => searchParams.get('last_event_id'))).to.deep.equal([start, `${epoch}-1`])
  })

  it('has no connection while offline, and reconnects immediately when online', async () => {
    await open({ retryMs: 100_000 })
    await server.publish()
    await assertSawAll()
    await context.setOffline(true)
    await eventually(() => server.streams === 0)
    await server.publish(3)
    expect(await stateOf(page)).to.equal('waiting offline')
    await context.setOffline(false)
    await isOpen()
    await assertSawAll()
    expect(server.opened).to.equal(2)
  })

  it('has no connection while the page is frozen', async () => {
    await open({ retryMs: 100_000 })
    // Tests cannot make the browser freeze a tab, so the test dispatches the browser's events.
    await page.evaluate(() => document.dispatchEvent(new Event('freeze')))
    await eventually(() => server.streams === 0)
    await server.publish(3)
    await page.evaluate(() => document.dispatchEvent(new Event('resume')))
    await isOpen()
    await assertSawAll()
  })

  it('has no connection while the page is hidden, with pauseWhenHiddenMs', async () => {
    await open({ retryMs: 100_000, pauseWhenHiddenMs: 10 })
    // Headless pages are never hidden, so the test dispatches the browser's events.
    const setHidden = (hidden: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
      }, hidden)
    await setHidden(true)
    await eventually(() => server.streams === 0)
    expect(await stateOf(page)).to.equal('waiting hidden')
    await server.publish(3)
    await setHidden(false)
    await isOpen()
    await assertSawAll()
  })

  it('closes the connection when the page enters the back/forward cache', async () => {
    await open({ retryMs: 100_000 })
    const say = (type: string) =>
      page.evaluate((type) => void dispatchEvent(new PageTransitionEvent(type, { persisted: true })), type)
    await say('pagehide')
    await eventually(() => server.streams === 0)
    expect(await stateOf(page)).to.equal('waiting frozen')
    await say('pageshow')
    await isOpen()
  })

  it('resumes from its position when the page leaves the cache', async () => {
    await open({ retryMs: 100_000 })
    await server.publish(2)
    await assertSawAll()
    await page.goto(`${server.url}/kit.js`)
    await eventually(() => server.streams === 0)
    // The driver does not know the cache and cannot see the page any more, so the test checks the server.
    await page.evaluate(() => setTimeout(() => history.back()))
    await eventually(() => server.streams === 1)
    expect(server.loaded, 'as it was, not loaded again').to.equal(1)
    expect(server.lastEventId).to.equal(await server.cursor())
  })
})
