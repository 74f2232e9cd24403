import { readFile } from 'node:fs/promises'
import { expect } from 'chai'
import { readConfig } from '../../example/server/config.js'
import { createMetrics, createMultiplexer, createStreamLimits } from '../../lib/index.js'
import { Scrape } from '../observe/scrape.js'

const deployed = (name: string): Promise<string> =>
  readFile(new URL(`../../example/deploy/${name}`, import.meta.url), 'utf8')

/** The metrics of Prometheus itself. */
const OTHERS = ['up', 'ALERTS']

describe("the example's deployment", () => {
  let scrape: Scrape

  before(async () => {
    const multiplexer = createMultiplexer()
    const streamLimits = createStreamLimits({})
    const metrics = createMetrics({ multiplexer, streamLimits })
    scrape = new Scrape(await metrics.register.metrics())
    metrics.close()
    await Promise.all([multiplexer.close(), streamLimits.close()])
  })

  /** The selectors in PromQL: a metric's name, and the values that labels are compared with. */
  function selectorsIn(text: string): { readonly name: string; readonly labels: readonly [string, string][] }[] {
    return [...text.matchAll(/\b(sse_\w+|up\b|ALERTS\b)(\{[^}]*\})?/g)].map(([, name = '', labels = '']) => ({
      name,
      labels: [...labels.matchAll(/(\w+)!?="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value]),
    }))
  }

  function unknownIn(text: string): string[] {
    const exists = (name: string, labels: readonly [string, string][]): boolean =>
      scrape.series.some(
        (series) =>
          series.replace(/\{.*/, '') === name &&
          labels.every(([label, value]) => series.includes(`${label}="${value}"`)),
      )
    return selectorsIn(text)
      .filter(({ name }) => !OTHERS.includes(name))
      .filter(
        ({ name, labels }) =>
          !exists(
            name,
            labels.filter(([label]) => label !== 'instance'),
          ),
      )
      .map(({ name, labels }) => `${name} ${labels.join(' ')}`)
  }

  it('has alerts only for existing metrics and label values', async () => {
    for (const name of ['alerts.yml', 'alerts.test.yml']) {
      expect(unknownIn(await deployed(`prometheus/${name}`)), name).to.deep.equal([])
    }
  })

  it('tests each alert, firing and silent', async () => {
    const names = [...(await deployed('prometheus/alerts.yml')).matchAll(/alert: (\w+)/g)].map(([, name]) => name)
    const tests = await deployed('prometheus/alerts.test.yml')
    expect(names).to.have.length.above(5)
    for (const name of names) {
      expect(tests, String(name)).to.contain(`alertname: ${name}, exp_alerts: []`)
      expect(tests, String(name)).to.contain(`{alertname="${name}"}`)
    }
  })

  it('shows every existing metric, and no other', async () => {
    const dashboard = await deployed('grafana/dashboards/streams.json')
    const { panels } = JSON.parse(dashboard) as { panels: { targets?: { expr: string }[] }[] }
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join('\n')
    expect(unknownIn(queries)).to.deep.equal([])
    const shown = new Set(selectorsIn(queries).map(({ name }) => name.replace(/_bucket$/, '')))
    const kit = [...scrape.types.keys()].filter((name) => name.startsWith('sse_'))
    expect(kit.filter((name) => !shown.has(name))).to.deep.equal([])
  })

  it('runs in production mode, with secrets that have no default, and publishes no internal port', async () => {
    const [dockerfile, compose, nginx] = await Promise.all(['Dockerfile', 'compose.yaml', 'nginx.conf'].map(deployed))
    expect(dockerfile).to.match(/^ENV NODE_ENV=production$/m)
    expect(compose).to.match(/^ {4}NODE_ENV: production$/m)
    for (const name of ['JWT_SECRET', 'WEBHOOK_SECRET', 'WEBHOOK_VERIFY_TOKEN']) {
      expect(compose, name).to.match(new RegExp(`^ {4}${name}: \\$\\{${name}:\\?`, 'm'))
    }
    const port = /INTERNAL_PORT: "(\d+)"/.exec(compose ?? '')?.[1] ?? ''
    expect(await deployed('prometheus/prometheus.yml')).to.contain(`[app-1:${port}, app-2:${port}]`)
    expect(nginx).not.to.contain(port)
    const published = [...(compose ?? '').matchAll(/^ {6}- "(?:127\.0\.0\.1:)?\d+:(\d+)"$/gm)].map(([, to]) => to)
    expect(published).to.deep.equal(['80', '9090', '3000'])
    expect(published).not.to.include(port)
  })

  it('sets only environment variables that the example reads', async () => {
    const read = new Set<string>()
    const environment = new Proxy<Record<string, string>>(
      {},
      { get: (_, name) => void read.add(String(name)), has: () => false },
    )
    readConfig(environment)
    const compose = await deployed('compose.yaml')
    const block = /environment: &app-environment\n((?: {4}.*\n)+)/.exec(compose)?.[1] ?? ''
    const set = [...block.matchAll(/^ {4}([A-Z_]+):/gm)].map(([, name = '']) => name)
    expect(set).to.include('REDIS_URL')
    expect(set.filter((name) => !read.has(name))).to.deep.equal([])
  })
})
