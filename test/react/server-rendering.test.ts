import { expect } from 'chai'
import { createElement, type ReactNode } from 'react'
import { renderToString } from 'react-dom/server'
import { SseProvider, useSSE, useSSEState } from '../../lib/react/index.js'
import { serve } from '../helpers/http-server.js'

function Component({ url }: { readonly url: string }): ReactNode {
  return `${useSSE(url, {})} ${useSSEState(url).state} ${useSSEState().state}`
}

function Lonely(): ReactNode {
  return useSSEState().state
}

describe('the hooks on a server', () => {
  it('render as if connecting, and open nothing', async () => {
    let requests = 0
    const server = await serve((_, res) => {
      requests++
      res.end()
    })
    const tree = createElement(SseProvider, { tabs: true }, createElement(Component, { url: `${server.url}/stream` }))
    expect(renderToString(tree)).to.equal('connecting connecting connecting')
    // A page's own URLs have no base here.
    expect(renderToString(createElement(SseProvider, null, createElement(Component, { url: '/stream' })))).to.be.a(
      'string',
    )
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(requests).to.equal(0)
    await server.stop()
  })

  it('say what is missing', () => {
    expect(() => renderToString(createElement(Lonely))).to.throw('<SseProvider>')
  })
})
