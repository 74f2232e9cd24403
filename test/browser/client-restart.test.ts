import { expect } from 'chai'
import type { Browser, Page } from 'playwright-core'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'
import { launch } from './browser.js'
import { KitServer, seenBy, stateOf } from './kit-page.js'

describe('the client in Chromium, when another server replaces one that crashed', () => {
  let browser: Browser
  let page: Page
  let server: KitServer
  let redis: RedisServer | undefined
  let other: Multiplexer | undefined

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())
  afterEach(async () => {
    await page.close()
    await server.stop()
    await other?.close()
    await redis?.stop()
    other = redis = undefined
  })

  async function openPage(): Promise<void> {
    page = await browser.newPage()
    await page.goto(server.url)
    await page.evaluate((cursor) => kit.open({ cursor }), await server.cursor())
    await isOpen()
  }

  const isOpen = () => eventually(async () => (await stateOf(page)) === 'open')
  const sees = (count: number) => eventually(async () => (await seenBy(page)).length >= count)

  async function crash(): Promise<void> {
    await server.crash()
    await eventually(async () => (await stateOf(page)).startsWith('waiting'))
  }

  it('resumes from a log in Redis, including events that other processes published meanwhile', async () => {
    redis = await RedisServer.start()
    server = await KitServer.start({}, redis.url)
    other = createMultiplexer({ redis: redis.url })
    await openPage()
    await server.publish(5)
    await sees(5)

    await crash()
    for (let n = 6; n <= 10; n++) await other.publish('log', { event: 'n', data: n })
    server.notePublished(5)
    await server.restart()

    await isOpen()
    await server.publish(5)
    await sees(15)
    expect(await seenBy(page)).to.deep.equal(server.numbers)
  })

  it('gets sse.reset if the log was lost with the server, then new events', async () => {
    server = await KitServer.start()
    await openPage()
    await server.publish(3)
    await sees(3)

    await crash()
    await server.restart()

    await sees(4)
    await server.publish(2)
    await sees(6)
    expect(await seenBy(page)).to.deep.equal([1, 2, 3, -1, 4, 5])
  })
})
