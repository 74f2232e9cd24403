import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect } from 'chai'
import express from 'express'
import { passed } from '../../lib/http/passed.js'

describe('a handler that is waited for', () => {
  it('has answered as soon as it ends the response, also later and behind an open stream on the connection', async () => {
    const app = express()
    app.get('/open', (_req, res) => void res.write('open'))
    const settled = new Promise<number>((resolve, reject) => {
      app.get('/refused', (req, res) => {
        const refuse = (): void => void setImmediate(() => res.sendStatus(429))
        passed(refuse, req, res).then(() => resolve(res.statusCode), reject)
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
