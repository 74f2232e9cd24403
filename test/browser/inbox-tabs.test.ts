import { expect } from 'chai'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { launch, openPage } from './browser.js'
import { bubble, CONVERSATION, connected, disconnected, row, signInByLink, textsOf } from './inbox-page.js'
import { crash, leaderOf } from './tabs.js'

describe("a user's tabs of the inbox in Chromium", () => {
  let browser: Browser
  let inbox: TestInbox
  let server: RedisServer | undefined
  let context: BrowserContext
  let first: Page
  let problems: string[]
  let delivered: number

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())

  async function start(redisUrl?: string): Promise<void> {
    inbox = await TestInbox.start(redisUrl === undefined ? {} : { redisUrl })
    ;({ page: first, problems } = await openPage(browser))
    context = first.context()
    delivered = 0
    await signInByLink(first, inbox)
  }

  afterEach(async () => {
    await context.close()
    await inbox.stop()
    await server?.stop()
    server = undefined
  })

  const streams = () => inbox.services.multiplexer.status().streams

  async function openTabs(count: number): Promise<Page[]> {
    const others = range(2, count).map(async () => {
      const page = await context.newPage()
      await page.goto(inbox.url)
      await connected(page)
      return page
    })
    return [first, ...(await Promise.all(others))]
  }

  async function deliver(by = inbox): Promise<void> {
    delivered++
    const payload = whatsAppPayload({ id: `wamid.${delivered}`, text: `Number ${delivered}` })
    expect((await by.deliver('whatsapp', payload)).status).to.equal(200)
  }

  async function openThread(pages: readonly Page[]): Promise<void> {
    for (const page of pages) {
      await row(page).click()
      await bubble(page, 'Number 1').first().waitFor()
    }
  }

  /** Delivers messages until stopped. @returns stops it */
  function deliverOn(by = inbox): () => Promise<void> {
    let isOver = false
    const delivering = (async () => {
      while (!isOver) {
        await deliver(by)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()
    return () => {
      isOver = true
      return delivering
    }
  }

  /** Every delivered message, in order, once. */
  async function assertAllShown(pages: readonly Page[]): Promise<void> {
    const texts = range(1, delivered).map((number) => `Number ${number}`)
    for (const page of pages) {
      await eventually(async () => (await textsOf(page)).at(-1) === texts.at(-1))
      expect(await textsOf(page)).to.deep.equal(texts)
      await row(page).getByText(`Number ${delivered}`, { exact: true }).waitFor()
    }
  }

  const more = async (count: number): Promise<void> => {
    const before = delivered
    await eventually(() => delivered >= before + count)
  }

  it('share one stream among eight, each with its own thread, and sign out together', async () => {
    await start()
    const pages = await openTabs(8)
    expect(inbox.services.multiplexer.inspect()).to.have.length(1)
    await deliver()
    await openThread(pages.slice(0, 4))
    for (const page of pages.slice(4)) await row(page, 'demo-lena').click()
    await deliver()
    for (const page of pages.slice(0, 4)) await bubble(page, 'Number 2').waitFor()
    for (const page of pages.slice(4)) await row(page).getByText('Number 2').waitFor()
    expect(streams()).to.equal(1)

    const stranger = await openPage(browser)
    await signInByLink(stranger.page, inbox, 'gus')
    expect(streams()).to.equal(2)
    await stranger.page.context().close()

    const token = await first.evaluate(() => JSON.parse(localStorage.getItem('inbox.session') ?? '').token as string)
    await first.getByTestId('sign-out').click()
    for (const page of pages) await page.getByTestId('sign-in').waitFor()
    await eventually(() => streams() === 0)
    await eventually(async () => (await inbox.call('GET', '/api/v1/conversations', { token })).status === 401)
    expect(problems).to.deep.equal([])
  })

  it('show each message once when the tab with the connection is closed, or crashes, in traffic', async () => {
    await start()
    let pages = await openTabs(4)
    await deliver()
    await openThread(pages)
    const loads: string[] = []
    context.on('request', (request) => request.method() === 'GET' && loads.push(new URL(request.url()).pathname))
    const stop = deliverOn()
    for (const end of [(page: Page) => page.close(), crash]) {
      await more(10)
      const opened = inbox.services.multiplexer.inspect()[0]?.id
      const leader = await leaderOf(pages)
      pages = pages.filter((page) => page !== leader)
      await end(leader)
      await eventually(() => {
        const now = inbox.services.multiplexer.inspect()
        return now.length === 1 && now[0]?.id !== opened
      })
    }
    await more(10)
    await stop()
    await assertAllShown(pages)
    // From the stream only: each new leader opens it at its own position, and no tab reloads its lists.
    expect(loads).to.deep.equal(['/api/v1/sse/conversations', '/api/v1/sse/conversations'])
    expect(streams()).to.equal(1)
    expect(pages).to.have.length(2)
  })

  it('reconnect together on one stream after a restart in traffic, and show every message', async () => {
    server = await RedisServer.start()
    await start(server.url)
    const pages = await openTabs(3)
    const beside = await TestInbox.start({ redisUrl: server.url })
    await deliver(beside)
    await openThread(pages)
    const stop = deliverOn(beside)
    await more(5)
    const { port } = inbox
    await inbox.stop()
    for (const page of pages) await disconnected(page)
    await more(5)
    inbox = await TestInbox.start({ port, redisUrl: server.url })
    for (const page of pages) await connected(page)
    await more(5)
    await stop()
    await assertAllShown(pages)
    expect(streams()).to.equal(1)
    await beside.stop()
    expect(problems).to.deep.equal([])
  })

  it('switch the user when another user signs in in one of them', async () => {
    await start()
    const [, second] = (await openTabs(2)) as [Page, Page]
    await signInByLink(second, inbox, 'gus', 'globex')
    for (const page of [first, second]) {
      await page.getByRole('heading', { name: 'Globex Studio' }).waitFor()
      await connected(page)
    }
    expect(await row(first, CONVERSATION).count()).to.equal(0)
    await eventually(() => streams() === 1)
    expect(problems).to.deep.equal([])
  })
})
