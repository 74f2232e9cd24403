/** HTTP/1.1 keep-alive POSTs on raw sockets, one under way on each: cheap, so that the server is the bottleneck. */
import { connect } from 'node:net'

/**
 * @param count of sockets; further posts wait for one
 * @returns a function that posts a body, to `path` or another one, and resolves with the answer 2xx; anything else ends
 * the process
 */
export function openPosts(port, path, count) {
  const free = []
  const waiting = []
  for (let i = 0; i < count; i++) open()
  return (body, target = path) =>
    new Promise((resolve) => {
      const post = { body, target, resolve }
      const send = free.pop()
      if (send) send(post)
      else waiting.push(post)
    })

  function open() {
    const socket = connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    let current
    let answer = ''
    const send = (post) => {
      current = post
      const head = `POST ${post.target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n`
      socket.write(`${head}Content-Length: ${Buffer.byteLength(post.body)}\r\n\r\n${post.body}`)
    }
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (!isWhole(answer)) return
      if (!/^HTTP\/1\.1 2\d\d /.test(answer)) throw new Error(`A publish was refused: ${answer}`)
      answer = ''
      const { resolve } = current
      const next = waiting.shift()
      if (next) send(next)
      else free.push(send)
      resolve()
    })
    socket.on('close', () => {
      throw new Error('The server closed a publishing connection')
    })
    free.push(send)
  }
}

function isWhole(answer) {
  const end = answer.indexOf('\r\n\r\n')
  if (end === -1) return false
  const length = Number(/\r\nContent-Length: *(\d+)/i.exec(answer)?.[1] ?? 0)
  return answer.length >= end + 4 + length
}
