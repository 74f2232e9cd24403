import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { freePort } from '../helpers/free-port.js'

const DEPLOY = fileURLToPath(new URL('../../example/deploy/', import.meta.url))

interface Answer {
  readonly status: string
  readonly data: { readonly result: readonly { readonly value: readonly [at: number, value: string] }[] }
  readonly error?: string
}

/** Needs Prometheus and promtool on the PATH (Debian: apt-get install prometheus). */
describe("the example's Prometheus", () => {
  const promtool = async (...args: readonly string[]): Promise<string> =>
    (await promisify(execFile)('promtool', args, { cwd: join(DEPLOY, 'prometheus') })).stdout

  it('accepts its configuration and its rules', async () => {
    expect(await promtool('check', 'config', 'prometheus.yml')).to.match(/SUCCESS: \d+ rules found/)
  })

  it('fires each alert exactly in the cases of the rule tests', async () => {
    expect(await promtool('test', 'rules', 'alerts.test.yml')).to.contain('SUCCESS')
  })

  describe('running', () => {
    let folder: string
    let inbox: TestInbox
    let prometheus: ChildProcess
    let url: string

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'sse-prometheus-'))
      inbox = await TestInbox.start({ environment: { INTERNAL_PORT: '0' } })
      const file = await readFile(join(DEPLOY, 'prometheus/prometheus.yml'), 'utf8')
      await writeFile(
        join(folder, 'prometheus.yml'),
        file
          .replace('app-1:9464, app-2:9464', `127.0.0.1:${inbox.internalPort}`)
          .replace('- alerts.yml', `- ${join(DEPLOY, 'prometheus/alerts.yml')}`)
          .replaceAll('interval: 5s', 'interval: 1s'),
      )
      const port = await freePort()
      url = `http://127.0.0.1:${port}`
      prometheus = spawn(
        'prometheus',
        [
          `--config.file=${folder}/prometheus.yml`,
          `--storage.tsdb.path=${folder}/data`,
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        { stdio: 'ignore' },
      )
      await once(prometheus, 'spawn')
    })

    after(async () => {
      const ended = once(prometheus, 'exit')
      prometheus.kill('SIGTERM')
      await ended
      await inbox.stop()
      await rm(folder, { recursive: true })
    })

    async function query(expr: string): Promise<Answer> {
      const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`)
      return (await response.json()) as Answer
    }

    /** The value of a query that has one; `undefined` before. */
    async function figureOf(expr: string): Promise<number | undefined> {
      const value = await query(expr).then(
        ({ data }) => data.result[0]?.value[1],
        () => undefined,
      )
      return value === undefined ? undefined : Number(value)
    }

    it("reads the example's metrics", async () => {
      const token = await inbox.signIn('dana', 'acme')
      const stream = await inbox.stream('/conversations', token)
      await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello' }))
      await stream.messagesUntil(1)
      await eventually(async () => (await figureOf('sse_events_delivered_total{via="stream"}')) === 1, 30_000)
      expect(await figureOf('sum(up)')).to.equal(1)
      expect(await figureOf('sse_streams_open')).to.equal(1)
    })

    it('answers every query of the dashboard', async () => {
      const dashboard = await readFile(join(DEPLOY, 'grafana/dashboards/streams.json'), 'utf8')
      const { panels } = JSON.parse(dashboard) as { panels: { title: string; targets?: { expr: string }[] }[] }
      let queries = 0
      for (const { title, targets = [] } of panels) {
        for (const { expr } of targets) {
          const answer = await query(expr.replaceAll('$__rate_interval', '10s'))
          expect(answer.status, `${title}: ${expr}: ${answer.error}`).to.equal('success')
          queries++
        }
      }
      expect(queries).to.be.above(30)
    })

    it('has no alert without faults', async () => {
      await eventually(async () => (await figureOf('count(sse_streams_open)')) === 1)
      expect((await query('ALERTS{alertstate="firing"}')).data.result).to.deep.equal([])
    })
  })
})
