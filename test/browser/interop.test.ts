import { expect } from 'chai'
import type { Browser } from 'playwright-core'
import { eventually } from '../helpers/eventually.js'
import { type BrowserClient, CLIENTS } from '../interop/clients.js'
import type { Connection } from '../interop/connection.js'
import { TYPES } from '../interop/script.js'
import { InteropServer, type InteropServerOptions } from '../interop/server.js'
import { interopSuite } from '../interop/suite.js'
import { launch } from './browser.js'
import { bundle, pageWith } from './bundle.js'
import type { Interop } from './interop-clients.js'

describe('the server and other SSE clients, in Chromium', () => {
  let browser: Browser
  let files: NonNullable<InteropServerOptions['files']>

  before(async () => {
    files = {
      '/': { type: 'text/html', body: pageWith('/clients.js') },
      '/clients.js': { type: 'text/javascript; charset=utf-8', body: await bundle('interop-clients') },
    }
    browser = await launch()
  })
  after(() => browser.close())

  /** Opens a new page for each client. */
  async function open(name: Parameters<Interop['open']>[0], server: InteropServer, url: string): Promise<Connection> {
    // Chromium does not trust the test's certificate. The option disables only that check.
    const page = await browser.newPage({ ignoreHTTPSErrors: true })
    await page.goto(server.url)
    await page.evaluate(([name, url, types]) => interop.open(name, url, types), [name, url, TYPES] as const)
    return {
      seen: () => page.evaluate(() => interop.seen),
      isOver: () => page.evaluate(() => interop.isOver()),
      close: () => page.close(),
    }
  }

  const names = Object.entries(CLIENTS).flatMap(([name, { runsIn }]) => (runsIn === 'Chromium' ? [name] : []))
  for (const name of names as BrowserClient[]) {
    describe(name, () => {
      interopSuite(
        CLIENTS[name],
        (server, url) => open(name, server, url),
        () => ({ files }),
      )
    })
  }

  describe('notes of the table', () => {
    let server: InteropServer
    let connection: Connection

    beforeEach(async () => {
      server = await InteropServer.start({ files })
    })
    afterEach(async () => {
      await connection.close()
      await server.stop()
    })

    const sees = (type: string, times = 1) =>
      eventually(async () => (await connection.seen()).filter((event) => event.type === type).length === times)

    const over = () => eventually(() => connection.isOver())

    it('@microsoft/fetch-event-source ends with the first stream, unless onclose throws', async () => {
      connection = await open('fetch-event-source by default', server, '/stream')
      await sees('sse.open')
      server.age()
      await over()
      expect(server.opened('/stream')).to.equal(1)
    })

    it('@microsoft/fetch-event-source, as recommended, stops at a 204, and retries after a 503', async () => {
      server.press()
      connection = await open('fetch-event-source as advised', server, '/refused-by-status')
      await eventually(() => server.opened('/refused-by-status') === 1)
      server.relax()
      await sees('sse.open')
      await connection.close()
      connection = await open('fetch-event-source as advised', server, '/no-content')
      await over()
      expect(server.opened('/no-content')).to.equal(1)
    })

    it('sse.js does not reconnect by default', async () => {
      connection = await open('sse.js by default', server, '/stream')
      await sees('sse.open')
      server.cut()
      await over()
      expect(server.opened('/stream')).to.equal(1)
    })

    it('sse.js with maxRetries stops at refusals, but not at a 204', async () => {
      server.press()
      connection = await open('sse.js with maxRetries', server, '/refused-by-status')
      await over()
      expect(server.opened('/refused-by-status')).to.equal(2)
      await connection.close()
      connection = await open('sse.js with maxRetries', server, '/no-content')
      await eventually(() => server.opened('/no-content') >= 4)
    })
  })
})
