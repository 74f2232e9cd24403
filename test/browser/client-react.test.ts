import { expect } from 'chai'
import type { Browser, Page } from 'playwright-core'
import { eventually } from '../helpers/eventually.js'
import { launch, openPage } from './browser.js'
import { KitServer, seenBy, stateOf } from './kit-page.js'

describe('the hooks in Chromium', () => {
  let browser: Browser
  let page: Page
  let server: KitServer
  let problems: string[]

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())

  beforeEach(async () => {
    server = await KitServer.start()
    ;({ page, problems } = await openPage(browser))
    await page.goto(server.url)
    await page.evaluate(
      (cursor) => {
        kit.cursor = cursor
      },
      await server.cursor(),
    )
  })
  afterEach(async () => {
    await page.context().close()
    await server.stop()
    expect(problems).to.deep.equal([])
  })

  const render = (props: Parameters<typeof kit.render>[0] = {}) => page.evaluate((props) => kit.render(props), props)
  const rendered = () => page.evaluate(() => ({ ...kit.rendered }))
  const isOpen = () => eventually(async () => (await stateOf(page)) === 'open')
  const saw = (count: number) => eventually(async () => (await seenBy(page)).length === count)

  it('keep one connection in StrictMode, also while components unmount and mount', async () => {
    await render()
    await isOpen()
    await server.publish()
    await saw(2)
    await render({ mounted: 0 })
    await render({ mounted: 3 })
    await server.publish()
    // The three components start at their cursor again.
    await saw(2 + 6)
    expect((await seenBy(page)).slice(2).sort()).to.deep.equal([1, 1, 1, 2, 2, 2])
    expect(server.opened).to.equal(1)
    await page.evaluate(() => kit.unmount())
    await eventually(() => server.streams === 0)
  })

  it('do not render for an event, and do not reconnect for a new handler or token', async () => {
    await render({ mounted: 1 })
    await isOpen()
    const before = await rendered()
    await server.publish(50)
    await saw(50)
    expect(await rendered()).to.deep.equal(before)
    await render({ factor: 10 })
    await server.publish(1)
    await saw(51)
    expect((await seenBy(page)).at(-1)).to.equal(510)
    expect(server.opened).to.equal(1)
    const tokens: (string | undefined)[] = []
    page.on('request', (request) => tokens.push(request.headers().authorization))
    server.cut()
    await eventually(() => tokens.length === 1)
    expect(tokens.at(-1)).to.equal('Bearer token-10')
  })

  it('call the handler for all events also if the handler of the type throws, and report its error', async () => {
    await render({ mounted: 1, throws: true })
    await isOpen()
    await server.publish(3)
    await saw(3)
    expect(await page.evaluate(() => kit.all)).to.equal(3)
    await eventually(() => problems.length === 3)
    expect(problems.splice(0)).to.deep.equal(Array(3).fill('the handler throws'))
  })

  it('open another connection for another user', async () => {
    await render({ identity: 'dana' })
    await isOpen()
    await render({ identity: 'gus' })
    await eventually(() => server.opened === 2)
    await eventually(() => server.streams === 1)
    await isOpen()
  })

  for (const [where, props] of [
    ['without a provider', { provided: false }],
    ['with their own token', { own: true }],
  ] as const) {
    it(`have one connection each ${where}, also in StrictMode`, async () => {
      await render(props)
      await eventually(() => server.streams === 2)
      await server.publish()
      await saw(2)
      expect(server.opened).to.equal(2)
      expect(await page.evaluate(() => [kit.state, kit.listenerStates.at(-1)])).to.deep.equal(['open', 'open'])
    })
  }
})
