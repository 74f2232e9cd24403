import { expect } from 'chai'
import { createElement, type ReactNode } from 'react'
import { renderToString } from 'react-dom/server'
import { SseProvider, useSSE, useSSEState } from '../../lib/react/index.js'
import { serve } from '../helpers/http-server.js'

function Component({ url }: { readonly url: string }): ReactNode {
  return `${useSSE(url, {})} ${useSSEState(url).state} ${useSSEState().state}`
}

function WithoutProvider(): ReactNode {
  return useSSEState().state
}

describe('the hooks on a server', () => {
  it('render the state connecting, and open no connection', async () => {
    let requests = 0
    const server = await serve((_, res) => {
      requests++
      res.end()
    })
    const tree = createElement(SseProvider, { tabs: true }, createElement(Component, { url: `${server.url}/stream` }))
    expect(renderToString(tree)).to.equal('connecting connecting connecting')
    // A relative URL has no base outside of a page.
    expect(renderToString(createElement(SseProvider, null, createElement(Component, { url: '/stream' })))).to.be.a(
      'string',
    )
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(requests).to.equal(0)
    await server.stop()
  })

  it('throw an error that names the missing provider', () => {
    expect(() => renderToString(createElement(WithoutProvider))).to.throw('<SseProvider>')
  })
})
