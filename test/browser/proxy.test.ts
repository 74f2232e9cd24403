import { expect } from 'chai'
import type { Browser, Page } from 'playwright-core'
import { record } from '../client/recorded.js'
import { eventually } from '../helpers/eventually.js'
import { Nginx } from '../helpers/nginx.js'
import { SseClient } from '../helpers/sse-client.js'
import { launch } from './browser.js'
import { KitServer, seenBy, stateOf } from './kit-page.js'

/** Suitable for downloads: a response is forwarded in parts of half a megabyte. */
const SWALLOWING =
  'proxy_ignore_headers X-Accel-Buffering; proxy_buffer_size 512k; proxy_buffers 8 512k; proxy_busy_buffers_size 512k;'

/** A typical configuration that was not written for streams. */
const ORDINARY: Readonly<Record<string, string>> = {
  'as it is, over HTTP/1.0': '',
  'over HTTP/1.1 with connections kept': 'proxy_http_version 1.1; proxy_set_header Connection "";',
  'that compresses all it can':
    'gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any; proxy_set_header Accept-Encoding "";',
}

describe('behind nginx', () => {
  let browser: Browser
  let server: KitServer
  let nginx: Nginx | undefined
  let start: string
  /** The encodings of the streams that the page opened. */
  let encodings: (string | undefined)[]

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())

  beforeEach(async () => {
    server = await KitServer.start()
    start = await server.cursor()
  })
  afterEach(async () => {
    await nginx?.stop()
    await server.stop()
  })

  async function openPage(options: Parameters<typeof kit.open>[0]): Promise<Page> {
    const page = await browser.newPage()
    encodings = []
    page.on('response', (response) => {
      if (response.url().includes('/stream')) encodings.push(response.headers()['content-encoding'])
    })
    await page.goto(nginx?.url ?? '')
    await page.evaluate((options) => kit.open(options), { cursor: start, ...options })
    return page
  }

  const is = (page: Page, state: string) => eventually(async () => (await stateOf(page)).split(' ')[0] === state)

  /** Waits for `count` more events. */
  async function seesMore(page: Page, count: number): Promise<void> {
    const before = (await seenBy(page)).length
    await eventually(async () => (await seenBy(page)).length >= before + count)
  }

  async function assertSawAll(page: Page): Promise<void> {
    await eventually(async () => (await seenBy(page)).length >= server.published)
    expect(await seenBy(page)).to.deep.equal(server.numbers)
  }

  it('that buffers streams, the client in Chromium polls until they are not buffered: every event once', async () => {
    nginx = await Nginx.start(server.url, SWALLOWING)
    const page = await openPage({ pollUrl: '/poll', openTimeoutMs: 300, streamRetryMs: 300 })
    const stop = server.publishOn()
    await is(page, 'polling')
    expect(await stateOf(page)).to.equal('polling no data received')
    expect(server.opened, 'streams that were swallowed').to.be.at.least(2)
    await seesMore(page, 50)
    // The client retries the stream without success, and misses no event.
    await eventually(() => server.opened >= 3)
    await is(page, 'polling')
    await seesMore(page, 50)

    await nginx?.reload()
    await is(page, 'open')
    const { opened } = server
    await seesMore(page, 100)
    await stop()
    await assertSawAll(page)
    expect(await stateOf(page)).to.equal('open')
    expect(server.opened, 'one stream since then').to.equal(opened)

    await page.close()
    await eventually(() => server.streams === 0)
  })

  it('that buffers streams, the client in Node does the same', async () => {
    nginx = await Nginx.start(server.url, SWALLOWING)
    const client = record(`${nginx?.url}/stream`, {
      ...{ cursor: start, pollUrl: '/poll', openTimeoutMs: 300, streamRetryMs: 300 },
    })
    const stop = server.publishOn()
    await eventually(() => client.stream.state === 'polling' && client.numbers().length >= 50)
    await nginx?.reload()
    await eventually(() => client.stream.state === 'open')
    await stop()
    await eventually(() => client.numbers().length >= server.published)
    expect(client.numbers()).to.deep.equal(server.numbers)
    client.stream.close()
  })

  for (const [name, directives] of Object.entries(ORDINARY)) {
    describe(name, () => {
      beforeEach(async () => {
        nginx = await Nginx.start(server.url, directives)
      })

      for (const transport of ['fetch', 'native'] as const) {
        it(`streams by ${transport} deliver each event immediately, and end with their page`, async () => {
          const page = await openPage({ transport })
          await is(page, 'open')
          expect(encodings).to.deep.equal([directives.includes('gzip on') ? 'gzip' : undefined])
          // Each event is awaited before the next is published, so the proxy holds none back.
          for (let n = 1; n <= 5; n++) {
            await server.publish()
            await eventually(async () => (await seenBy(page)).length === n)
          }
          const stop = server.publishOn()
          await seesMore(page, 200)
          await stop()
          await assertSawAll(page)
          expect(server.opened).to.equal(1)
          await page.close()
          await eventually(() => server.streams === 0)
        })
      }

      it('a stream works with a minimal client', async () => {
        const client = await SseClient.open(`${nginx?.url}/stream`, { 'last-event-id': start })
        await client.control('sse.open')
        await server.publish(3)
        await client.messagesUntil(3)
        expect(client.headers).to.include({ 'content-type': 'text/event-stream' })
        expect(client.messages.map(({ data }) => Number(data))).to.deep.equal(server.numbers)
        client.close()
        await eventually(() => server.streams === 0)
      })
    })
  }
})
