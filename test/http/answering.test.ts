import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import supertest from 'supertest'
import { BrokerError, RequestError } from '../../lib/core/errors.js'
import { AppFailure, answerError, callHandler } from '../../lib/http/answering.js'

describe('a handler that is awaited', () => {
  it('settles as soon as it ends the response, also behind an open stream on its connection', async () => {
    const app = express()
    app.get('/open', (_req, res) => void res.write('open'))
    const settled = new Promise<number>((resolve, reject) => {
      app.get('/refused', (req, res) => {
        const refuse = (): void => void setImmediate(() => res.sendStatus(429))
        callHandler(refuse, req, res).then(() => resolve(res.statusCode), reject)
      })
    })
    const server = createServer(app).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(['/open', '/refused'].map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''))
    try {
      expect(await settled).to.equal(429)
    } finally {
      socket.destroy()
      server.close()
    }
  })
})

describe('an error of a handler', () => {
  const refused = new RequestError('ERR_SSE_NOT_FOUND', 'There is no such thing')
  const unavailable = new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'Redis does not answer')
  const foreign = new Error('broken')

  /** @returns the status of a request whose handler failed, and the errors that `next` received */
  async function respond(error: unknown, responseHasBegun: boolean): Promise<readonly [number, unknown[]]> {
    const passedOn: unknown[] = []
    const app = express()
    app.get('/', (req, res) => {
      if (responseHasBegun) res.status(202).end()
      answerError(error, req, res, (failure) => {
        passedOn.push(failure)
        if (!responseHasBegun) res.status(418).end()
      })
    })
    const { status } = await supertest(app).get('/')
    return [status, passedOn]
  }

  it('of the kit is answered with a problem document', async () => {
    expect(await respond(refused, false)).to.deep.equal([404, []])
    expect(await respond(unavailable, false)).to.deep.equal([503, []])
  })

  it('of the application is passed to next, also if it is an error of the kit', async () => {
    expect(await respond(foreign, false)).to.deep.equal([418, [foreign]])
    expect(await respond(new AppFailure('load', unavailable), false)).to.deep.equal([418, [unavailable]])
  })

  it('is passed to next after the start of the response only if it is a server error', async () => {
    expect(await respond(refused, true)).to.deep.equal([202, []])
    expect(await respond(unavailable, true)).to.deep.equal([202, [unavailable]])
    expect(await respond(foreign, true)).to.deep.equal([202, [foreign]])
  })
})
