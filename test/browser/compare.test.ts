import { expect } from 'chai'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { TestInbox } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { launch, openPage, screenshot } from './browser.js'

const DESKTOP = { viewport: { width: 1280, height: 880 } }

describe('the comparison in Chromium', () => {
  let browser: Browser
  let inbox: TestInbox
  let page: Page
  let problems: string[]
  /** The requests for data that the server received, by path. */
  let requested: string[]

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())

  afterEach(async () => {
    await page.context().close()
    await inbox.stop()
  })

  async function open(options: BrowserContextOptions = DESKTOP): Promise<void> {
    inbox = await TestInbox.start()
    ;({ page, problems } = await openPage(browser, options))
    requested = []
    page.on('request', (request) => requested.push(new URL(request.url()).pathname.replace('/api/v1', '')))
    await page.goto(`${inbox.url}/compare?user=dana&tenant=acme`)
    await eventually(() => inbox.services.multiplexer.status().streams === 2)
  }

  async function numberOf(id: string): Promise<number> {
    return Number((await page.getByTestId(id).textContent())?.replace(',', ''))
  }

  const start = () => page.getByRole('button', { name: 'Let customers write' }).click()
  const agree = () => page.locator('[data-testid=agreement][data-behind="0"]').waitFor()

  function idsOf(side: string): Promise<(string | null)[]> {
    const items = page.getByTestId(side).locator('[data-message-id]')
    return items.evaluateAll((all) => all.map((item) => item.getAttribute('data-message-id')))
  }

  it('shows the same messages on both sides, with the requests and the delay of each', async () => {
    await open()
    // First the streams cost more: one request for each list, and one for its stream.
    await eventually(async () => (await numberOf('streaming-total')) === 5)
    await start()
    await page.getByText('Three customers write').waitFor()
    // Until the next poll of the thread.
    await eventually(async () => (await numberOf('polling-count')) > 2, 40_000)
    await page.getByRole('button', { name: 'Stop the customers' }).click()
    await page.getByRole('button', { name: 'Let customers write' }).waitFor()
    await agree()
    expect(await idsOf('polling')).to.deep.equal(await idsOf('streaming'))
    expect((await idsOf('polling')).length).to.be.greaterThan(2)

    expect(await numberOf('streaming-total')).to.equal(5)
    expect(await numberOf('polling-total')).to.be.greaterThan(5)
    expect(requested.filter((path) => path === '/sse/conversations')).to.have.length(1)
    expect(requested.filter((path) => path === '/conversations').length).to.be.greaterThan(2)
    await eventually(async () => (await numberOf('polling-count')) === (await numberOf('streaming-count')))
    for (const side of ['polling', 'streaming']) {
      expect(await page.getByTestId(`${side}-delay`).textContent()).to.match(/^[\d.]+ (ms|s)$/)
      expect(await page.getByTestId(`${side}-bytes`).textContent()).to.match(/^[\d.]+ (B|KiB)$/)
    }
    expect(await page.locator('.metric .streaming .line').first().getAttribute('d')).to.match(/^M[\d.]+ [\d.]+L/)
    expect(problems).to.deep.equal([])
  })

  it('recovers after the connections were cut, and shows messages sent meanwhile once', async () => {
    await open()
    await start()
    await eventually(async () => (await numberOf('streaming-count')) > 0)
    await page.context().setOffline(true)
    await page.getByTestId('streaming').getByText('Reconnecting').waitFor()
    const before = (await idsOf('streaming')).length
    await page.context().setOffline(false)
    await eventually(async () => (await idsOf('streaming')).length > before)
    await page.getByTestId('streaming').getByText('Reconnecting').waitFor({ state: 'detached' })
    await page.getByTestId('traffic').click()
    await agree()
    const ids = await idsOf('streaming')
    expect(await idsOf('polling')).to.deep.equal(ids)
    expect(new Set(ids).size).to.equal(ids.length)
    expect(problems).to.deep.equal([])
  })

  it('is linked from the inbox, shares its session, and links back', async () => {
    await open()
    await page.getByRole('link', { name: 'Inbox' }).click()
    await page.getByTestId('compare').click()
    await page.getByRole('heading', { name: 'Polling and SSE' }).waitFor()
    await page.getByRole('button', { name: 'Let customers write' }).waitFor()
    expect(problems).to.deep.equal([])
  })

  it('fits a phone', async () => {
    await open({ viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })
    await page.getByRole('button', { name: 'Let customers write' }).tap()
    await eventually(async () => (await numberOf('streaming-count')) > 0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).to.equal(390)
    expect(problems).to.deep.equal([])
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`renders in the ${colorScheme} scheme`, async () => {
      await open({ ...DESKTOP, colorScheme })
      await start()
      await page.mouse.move(640, 30)
      await eventually(async () => (await numberOf('streaming-count')) > 0)
      // Waits until the charts have data: they show the last minute.
      if (process.env.SCREENSHOTS === '1') {
        await eventually(async () => (await numberOf('streaming-requests')) === 0, 90_000)
      }
      await screenshot(page, `compare-${colorScheme}`)
      expect(problems).to.deep.equal([])
    }).timeout(120_000)
  }
})
