import { expect } from 'chai'
import { type OpenMetricsContentType, Registry } from 'prom-client'
import request from 'supertest'
import { createMetrics, type Metrics } from '../../lib/observe/metrics.js'
import { metrics } from '../../lib/routers/metrics.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`the metrics router on ${name}`, () => {
    let kit: Metrics | undefined
    afterEach(() => kit?.close())

    it('answers with the metrics of the register, in its format', async () => {
      kit = createMetrics()
      const { text, headers } = await request(express().use('/metrics', metrics(kit)))
        .get('/metrics')
        .expect(200)
      expect(headers).to.include({
        'content-type': 'text/plain; version=0.0.4; charset=utf-8',
        'cache-control': 'no-store',
      })
      expect(text).to.equal(await kit.register.metrics())
      expect(text).to.match(/^# TYPE sse_streams_open gauge\nsse_streams_open 0$/m)
      kit.close()
      const register = new Registry<OpenMetricsContentType>()
      register.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
      kit = createMetrics({ register })
      const other = await request(express().use(metrics(kit)))
        .get('/')
        .expect(200)
      expect(other.headers['content-type']).to.match(/^application\/openmetrics-text/)
    })

    it('passes the error to the application if a metric cannot be read', async () => {
      const register = { contentType: 'text/plain', metrics: () => Promise.reject(new Error('collect failed')) }
      const app = express().use(metrics({ register }))
      app.use(((error: Error, _req, res, _next) => {
        res.status(500).send(error.message)
      }) as import('express').ErrorRequestHandler)
      expect((await request(app).get('/').expect(500)).text).to.equal('collect failed')
    })

    it('is refused at construction without a register', () => {
      expect(() => metrics({} as never))
        .to.throw('register')
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  })
}
