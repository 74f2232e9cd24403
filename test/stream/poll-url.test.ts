import { expect } from 'chai'
import express from 'express'
import supertest from 'supertest'
import { sseErrors } from '../../lib/routers/errors.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'

describe('pollUrl', () => {
  it('fails the request, and nothing later, if its function does not return a string', async () => {
    const rejects = async (): Promise<never> => {
      throw new Error('no URL')
    }
    for (const pollUrl of [rejects, () => undefined, () => 5, () => new URL('http://localhost/poll')]) {
      const app = express()
      app.use(sseMiddleware({ pollUrl: pollUrl as unknown as () => string }))
      app.get('/', (_, res) => void res.sse().close('stalled'))
      app.use(sseErrors({ onError: null }))
      const { body } = await supertest(app).get('/').expect(500)
      expect(body).to.have.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })
})
